package web_test

import (
	"cmp"
	"context"
	"fmt"
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"
	"github.com/chromedp/cdproto/input"
	"github.com/chromedp/cdproto/runtime"
	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/testkit/firefox"
	"github.com/nearcast/nearcast/internal/wire"
)

// patience is how long a test waits for anything that should be at once.
const patience = 60 * time.Second

// TestInTheBrowser walks the pages with a real Chromium. With
// NEARCAST_SCREENSHOTS=dir it leaves pictures of every screen in dir.
func TestInTheBrowser(t *testing.T) {
	ctx := startChromium(t)
	video := encode(t)
	for name, walk := range map[string]func(*visit){
		"home lists apps, fresh":                            walkHome,
		"home without apps, without service":                walkEmptyHome,
		"play, wait, start, stream":                         walkPlay,
		"Play stays where it is":                            walkPlayStays,
		"Play with a seat that was prepared":                walkPrepared,
		"Play too late for a seat that was prepared":        walkPreparedLate,
		"Play where no seat was to spare":                   walkUnprepared,
		"a pointer rests on Play, and goes":                 walkRestAndGo,
		"a pointer rests on Play of the only seat":          walkNothingToSpare,
		"a signed app is prepared":                          walkPreparedSigned,
		"the focus rests on Play":                           walkRestByKeyboard,
		"a finger rests on Play":                            walkRestByTouch,
		"a page around the player says that Play is near":   walkRestByEmbedder,
		"the page stays as it is after Play":                walkStill,
		"hands reach the app":                               walkInput,
		"a game takes the mouse":                            walkRelative,
		"people type in all languages, and let go":          walkTyping,
		"a Mac's keys":                                      walkMac,
		"an app takes the mouse in mid-session":             walkAuto,
		"text is pasted and copied":                         walkClipboard,
		"HTML and pictures are pasted and copied":           walkClipKinds,
		"page and app exchange messages":                    walkMessages,
		"a React page":                                      walkReact,
		"a page with React 18":                              walkReact18,
		"gamepads reach the app, and shake":                 walkGamepads,
		"what is possible is said":                          walkHelp,
		"wheels and trackpads":                              walkWheel,
		"a locked mouse at players of several sizes":        walkLocked,
		"the socket drops, the picture stays":               walkSocketLoss,
		"the picture drops and comes back":                  walkMediaLoss,
		"the network goes silent":                           walkSilence,
		"the network goes silent for a moment":              walkSilentMoment,
		"the person's address changes":                      walkAddressChanges,
		"the old way works again meanwhile":                 walkHealsMeanwhile,
		"the way is cut for a moment":                       walkCutForAMoment,
		"no UDP gets through: by TURN":                      walkRelayed,
		"a reload comes back to the seat":                   walkReload,
		"ends are told in words, and can be replayed":       walkEnds,
		"a session that others wait for":                    walkEnding,
		"a part of the player does not come":                walkLaterLost,
		"an app is closed before its words come":            walkLaterShut,
		"the reasons of a site come late":                   walkLaterQueue,
		"parts come after the session":                      walkLaterOver,
		"a refusal says what to do":                         walkRefused,
		"what a network lets through":                       walkCheck,
		"an unknown app":                                    walkUnknown,
		"a player in a page of others":                      walkEmbedded,
		"two players in one page":                           walkTwoPlayers,
		"a page that changes a player":                      walkChanges,
		"a player in a frame":                               walkFramed,
		"a page with screens of its own":                    walkSlots,
		"the player's languages":                            walkLanguages,
		"a signed app":                                      walkSigned,
		"a site with a signed app dies":                     walkSignedSiteDies,
		"a phone":                                           walkPhone,
		"a tablet with a keyboard":                          walkTablet,
		"a laptop with a touch screen":                      walkTouchLaptop,
		"axe-core looks at a session":                       walkAxeSession,
		"axe-core looks at a session on a phone":            walkAxeSessionPhone,
		"axe-core looks at what is no session":              walkAxeOthers,
		"axe-core looks at what is no session, on a phone":  walkAxeOthersPhone,
		"a display that follows the window":                 walkWindow,
		"hundreds of sites, a handful of probes":            walkManySites,
		"a dead beacon costs nothing":                       walkDeadBeacon,
		"a site dies":                                       walkSiteDies,
		"a site dies, and others know it":                   walkSiteDiesKnown,
		"the person's own network is gone":                  walkOwnNetwork,
		"a site dies, and no other has a seat":              walkNobodyElse,
		"a site dies while a person waits in the queue":     walkSiteDiesWaiting,
		"another network is measured anew":                  walkAnotherNetwork,
		"a brain dies while a person is in the queue":       walkBrainDiesInLine,
		"all brains are away, and a person is in the queue": walkBrainsAwayInLine,
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "axe-core ") || strings.Contains(name, "React") {
				npmProject(t) // what npm fetches takes minutes at times, which are not the walk's
			}
			tab, cancel := chromedp.NewContext(ctx)
			defer cancel()
			tab, cancelTime := context.WithTimeout(tab, 2*time.Minute)
			defer cancelTime()
			v := &visit{T: t, ctx: tab, site: newSite(t, video)}
			v.size(1280, 800)
			if err := chromedp.Listen(tab, v.complaints); err != nil {
				t.Fatal(err)
			}
			walk(v)
		})
	}
}

// startChromium starts a browser for a test, which is skipped where there is none.
func startChromium(t *testing.T) context.Context {
	t.Helper()
	chromium, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("chromium is not installed: the pages were not walked")
	}
	options := []chromedp.ExecAllocatorOption{
		chromedp.ExecPath(chromium), chromedp.UserDataDir(t.TempDir()),
		chromedp.NoFirstRun, chromedp.Headless, chromedp.NoSandbox, chromedp.DisableGPU,
	}
	for _, flag := range []string{"disable-quic", "disable-background-networking", "disable-component-update", "disable-sync", "hide-scrollbars"} {
		options = append(options, chromedp.Flag(flag, true))
	}
	options = append(options, chromedp.Flag("disable-features", browser.Without))
	ctx, cancel := context.WithTimeout(context.Background(), 18*time.Minute)
	t.Cleanup(cancel)
	ctx, cancelAlloc := chromedp.NewExecAllocator(ctx, options...)
	t.Cleanup(cancelAlloc)
	ctx, cancelBrowser := chromedp.NewContext(ctx)
	t.Cleanup(cancelBrowser)
	if err := chromedp.Do(ctx); err != nil {
		t.Fatalf("start chromium: %v", err)
	}
	return ctx
}

// visit is one person at one page, in Chromium, or in Firefox where fox is set.
type visit struct {
	*testing.T
	ctx     context.Context
	site    *site
	fox     *firefox.Page
	display string // of a Firefox with a window
}

func (v *visit) do(actions ...chromedp.Action[chromedp.Void]) {
	v.Helper()
	if err := chromedp.Do(v.ctx, actions...); err != nil {
		v.Fatal(err)
	}
}

// command speaks to the browser below chromedp's actions.
func command[P, R any](v *visit, cmd cdp.Command[P, R], params P) {
	v.Helper()
	if _, err := chromedp.Call(v.ctx, cmd, params); err != nil {
		v.Fatal(err)
	}
}

// complaints fails the test for what the browser would print in red.
func (v *visit) complaints(event any) {
	if e, ok := event.(*runtime.EventExceptionThrown); ok {
		v.Errorf("the page threw: %s", (&chromedp.ExceptionError{ExceptionDetails: e.ExceptionDetails}).Error())
	}
}

func (v *visit) open(path string) {
	v.Helper()
	v.navigate(v.site.server.URL + path)
}

// evaluate gives what an expression is, or what its promise becomes.
func evaluate[T any](v *visit, expression string) T {
	v.Helper()
	out, err := ask[T](v, expression)
	if err != nil {
		v.Fatalf("%s: %v", expression, err)
	}
	return out
}

func ask[T any](v *visit, expression string) (out T, err error) {
	if v.fox != nil {
		err = v.fox.Eval(v.ctx, expression, &out)
		return out, err
	}
	return chromedp.Run(v.ctx, chromedp.Evaluate[T](browser.Deep(expression), chromedp.EvalAwaitPromise))
}

// script runs statements in the page.
func (v *visit) script(statements string) {
	v.Helper()
	evaluate[bool](v, "(() => {"+statements+"; return true })()")
}

// until waits for an expression to be true, also across a change of pages. The
// page's policy forbids eval, so it is asked from here.
func (v *visit) until(expression string) {
	v.Helper()
	deadline := time.After(patience)
	tick := time.NewTicker(25 * time.Millisecond)
	defer tick.Stop()
	for {
		ok, err := ask[bool](v, "Promise.resolve("+expression+").then(Boolean)")
		if err == nil && ok {
			return
		}
		select {
		case <-tick.C:
		case <-deadline:
			v.Fatalf("waited for %s (%v); the page is at %q", expression, err,
				evaluate[string](v, `(window.nearcast?.state ?? '') + ': ' + document.body.innerText`))
		}
	}
}

func (v *visit) untilText(text string) {
	v.Helper()
	v.until(fmt.Sprintf(`document.body.innerText.includes(%q)`, text))
}

func (v *visit) state(phase string) {
	v.Helper()
	v.until(fmt.Sprintf(`window.nearcast?.state === %q`, phase))
}

// press clicks what a selector finds, as a mouse does.
func (v *visit) press(selector string) {
	v.Helper()
	v.until(browser.Visible(selector))
	at := evaluate[browser.Point](v, browser.Middle(selector))
	v.clickAt(at.X, at.Y)
}

// play opens the app, presses Play and streams.
func (v *visit) play() (*brain, *seat) {
	v.Helper()
	v.open("/play/viewer")
	v.press(".play-button")
	b := v.site.nextBrain()
	st := v.site.serve(b, false)
	v.state("streaming")
	return b, st
}

// shot leaves a picture of the screen where a person asked for them.
func (v *visit) shot(name string) {
	v.Helper()
	dir := os.Getenv("NEARCAST_SCREENSHOTS")
	if dir == "" || v.fox != nil {
		return
	}
	// Let what moves come to rest: this is for eyes, and runs only for them.
	evaluate[bool](v, `new Promise((r) => setTimeout(r, 900, true))`)
	png, err := chromedp.Run(v.ctx, chromedp.CaptureScreenshot())
	if err != nil {
		v.Fatal(err)
	}
	if err := os.WriteFile(filepath.Join(dir, name+".png"), png, 0o644); err != nil {
		v.Fatal(err)
	}
}

func walkHome(v *visit) {
	v.site.apps = wire.AppsResponse{Apps: []wire.AppView{
		viewer,
		{ID: "neverball", Title: "Neverball", Description: "Tilt the floor, roll the ball.", Sites: map[string]wire.Capacity{"eu-central": {Max: 2, ColdStartMS: 4200}, "us-east": {Max: 2, ColdStartMS: 6100}}},
		{ID: "city", Title: "City Planner <b>", Description: "A whole quarter in the afternoon light.", Sites: map[string]wire.Capacity{"eu-central": {Busy: 2, Max: 2, Queued: 3}}},
		{ID: "turbine", Title: "Turbine Inspection", Sites: map[string]wire.Capacity{"us-east": {Max: 1, Failing: "content-missing: no object models/turbine.glb"}}},
	}}
	v.open("/")
	v.until(`document.querySelectorAll('.card').length === 4`)
	for _, text := range []string{"Model Viewer", "Ready now", "Starts in about 4 s", "Full, 3 waiting", "Does not start", "no object models/turbine.glb", "City Planner <b>"} {
		v.untilText(text)
	}
	v.shot("home")
	v.size(390, 844)
	v.shot("home-phone")
	v.size(1280, 800)
	v.site.mu.Lock()
	v.site.apps.Apps = []wire.AppView{{ID: "viewer", Title: "Model Viewer", Sites: map[string]wire.Capacity{"eu-central": {Busy: 1, Max: 1}}}}
	v.site.mu.Unlock()
	v.until(`document.querySelectorAll('.card').length === 1 && document.querySelector('.chip').innerText === 'Full'`)
	v.shot("home-one")
	v.press(".card")
	v.until(`location.pathname === '/play/viewer' && document.querySelector('.play-button')`)
}

func walkEmptyHome(v *visit) {
	v.site.apps.Apps = nil
	v.open("/")
	v.untilText("nomad job run")
	v.shot("home-empty")
	v.site.server.Config.Handler = http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		reply(w, http.StatusServiceUnavailable, wire.Problem{Type: wire.ProblemUnavailable, Title: "The registry is not reached yet", Status: 503, Detail: "Try again in a moment."})
	})
	v.untilText("The registry is not reached yet")
	v.shot("home-error")
}

func walkPlay(v *visit) {
	v.site.far = map[string]time.Duration{"eu-west": 18 * time.Millisecond, "us-east": 92 * time.Millisecond, "ap-northeast": 230 * time.Millisecond}
	v.open("/play/viewer")
	v.until(`document.activeElement?.classList.contains('play-button')`)
	v.untilText("eu-central is nearest")
	v.until(`document.querySelectorAll('.distance-stop').length === 4 && document.querySelector('.distance-stop.near b').innerText === 'eu-central'`)
	v.shot("ready")
	v.keys("\r")
	b := v.site.nextBrain()
	if b.hello.Ticket != "ticket" || !strings.Contains(b.hello.SDP, "a=candidate") {
		v.Errorf("hello lacks the ticket or an offer with candidates: %+v", b.hello)
	}
	if rtt := v.site.launches[0].RTTMS; rtt["eu-central"] <= 0 || rtt["eu-central"] >= rtt["eu-west"] || rtt["us-east"] < 92 {
		v.Errorf("measured %v", rtt)
	}
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 3, EstimateMS: 95_000}})
	v.untilText("You are number 3 in the queue")
	v.untilText("about 2 min")
	v.shot("queued")
	b.say(wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhaseContent, Fraction: 0.4, Detail: "96 of 240 MB"}})
	v.untilText("Fetching content")
	v.untilText("96 of 240 MB")
	v.shot("starting")
	b.say(wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhaseApp, Fraction: -1}})
	v.untilText("Starting the app")
	v.site.serve(b, false)
	v.state("streaming")
	v.until(`document.querySelector('video').videoWidth === 1280 && nearcast.firstFrameMS > 0`)
	v.script(`document.querySelector('[aria-label^="Statistics ("]').click()`)
	v.until(fmt.Sprintf(`document.querySelector('.stats').innerText.includes(%q)`, cmp.Or(v.site.codec, "H264")))
	v.until(`nearcast.stats().then((s) => s.fps > 5 && s.pingMS > 0 && s.kbps > 0)`)
	v.Logf("stats: %v", evaluate[map[string]any](v, `nearcast.stats()`))
	v.script(`document.querySelector('.tab').click()`)
	v.shot("streaming")
	// The second press of End ends; the first asks.
	v.script(`document.querySelector('.tool.end').click()`)
	v.untilText("End session?")
	v.script(`document.querySelector('.tool.end').click()`)
	b.hear(wire.MsgLeave)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLeft}})
	v.untilText("You left")
	v.shot("ended-left")

	// Once more without waiting: how long from Play to the picture?
	v.press(".primary")
	b = v.site.nextBrain()
	v.site.serve(b, false)
	v.state("streaming")
	first := evaluate[float64](v, `nearcast.firstFrameMS`)
	marks := evaluate[map[string]float64](v, `nearcast.marks`)
	v.Logf("Play to first frame: %.0f ms, %v", first, marks)
	if first > 5000 {
		v.Errorf("the first frame took %.0f ms", first)
	}
}

func near(a, b float64) bool { return math.Abs(a-b) < 0.0015 }

func walkInput(v *visit) {
	v.size(1000, 700)
	v.play()
	s := v.site
	// 1280x720 in 1000x700 is 1000x562.5, with bars of 68.75 above and below.
	v.moveTo(500, 350)
	moved := s.wantInput("move to the middle", func(in wire.Input) bool {
		return in.Type == wire.InputMove && near(in.X, 0.5) && near(in.Y, 0.5) && in.N > 0
	})
	seen := map[uint32]bool{moved.N: true}
	last := s.wantInput("the last move once more", func(in wire.Input) bool {
		again := in.Type == wire.InputMove && near(in.X, 0.5) && near(in.Y, 0.5) && seen[in.N]
		seen[in.N] = true
		return again
	})
	for _, channel := range []string{wire.ChannelPointer, wire.ChannelInput} {
		if _, came := s.ways.Load(way{channel, last.N}); !came {
			v.Errorf("the last move did not come on the channel %s", channel)
		}
	}
	// A key is meant for where the pointer is: it does not overtake a move.
	v.script(`const surface = document.querySelector('.surface');
		surface.dispatchEvent(new PointerEvent('pointermove', { bubbles: true, pointerType: 'mouse', clientX: 300, clientY: 350 }));
		document.activeElement.dispatchEvent(new KeyboardEvent('keydown', { bubbles: true, key: 'F9', code: 'F9' }));
		document.activeElement.dispatchEvent(new KeyboardEvent('keyup', { bubbles: true, key: 'F9', code: 'F9' }))`)
	last = wire.Input{}
	s.wantInput("F9", func(in wire.Input) bool {
		if in.Type == wire.InputMove && near(in.X, 0.3) {
			last = in
		}
		return in.Type == wire.InputKey && in.Code == "F9" && !in.Pressed
	})
	if _, came := s.ways.Load(way{wire.ChannelInput, last.N}); last.N == 0 || !came {
		v.Errorf("the key came before the last move: %+v", last)
	}
	v.clickAt(250, 350)
	s.wantInput("press", func(in wire.Input) bool {
		return in.Type == wire.InputDown && in.Button == 0 && near(in.X, 0.25) && near(in.Y, 0.5)
	})
	s.wantInput("release", func(in wire.Input) bool { return in.Type == wire.InputUp && in.Button == 0 && near(in.X, 0.25) })
	v.rightClickAt(999, 630)
	s.wantInput("right press in the corner", func(in wire.Input) bool {
		return in.Type == wire.InputDown && in.Button == 2 && near(in.X, 0.999) && near(in.Y, 0.9978)
	})
	s.wantInput("right release", func(in wire.Input) bool { return in.Type == wire.InputUp && in.Button == 2 })
	v.wheelAt(500, 350, 120)
	notch := 120.0
	if v.fox != nil {
		notch = 144 // WebDriver turns by pixels, as a trackpad does
	}
	s.wantInput("one notch down", func(in wire.Input) bool { return in.Type == wire.InputWheel && in.DY == notch && near(in.X, 0.5) })
	v.keys("w")
	s.wantInput("key down", func(in wire.Input) bool {
		return in.Type == wire.InputKey && in.Pressed && in.Code == "KeyW" && in.Key == "w"
	})
	s.wantInput("key up", func(in wire.Input) bool { return in.Type == wire.InputKey && !in.Pressed && in.Code == "KeyW" })
	v.keys("\t")
	s.wantInput("Tab", func(in wire.Input) bool { return in.Type == wire.InputKey && in.Pressed && in.Code == "Tab" })
	v.script(`window.dispatchEvent(new Event('blur'))`)
	s.wantInput("blur", func(in wire.Input) bool { return in.Type == wire.InputBlur })
	// A press beside the picture is not the app's.
	v.clickAt(500, 690)
	v.clickAt(500, 350)
	if in := s.wantInput("a press", func(in wire.Input) bool { return in.Type == wire.InputDown }); !near(in.Y, 0.5) {
		v.Errorf("a press beside the picture was sent: %+v", in)
	}
}

func walkRelative(v *visit) {
	v.playAs(wire.PointerRelative)
	v.untilText("Click to give the app your mouse")
	v.shot("capture")
	v.clickAt(640, 400)
	v.until(`document.pointerLockElement && document.querySelector('.capture').hidden`)
	v.moveTo(660, 410)
	v.site.wantInput("relative motion", func(in wire.Input) bool { return in.Type == wire.InputRel && (in.DX != 0 || in.DY != 0) })
	v.clickAt(660, 410)
	if in := v.site.wantInput("a press", func(in wire.Input) bool { return in.Type == wire.InputDown }); in.X != 0 || in.Y != 0 {
		v.Errorf("a press with the mouse taken has a position: %+v", in)
	}
}

func walkSocketLoss(v *visit) {
	b, _ := v.play()
	v.script(`window.seen = []; new MutationObserver(() => seen.push(document.querySelector('.player').dataset.phase)).observe(document.querySelector('.player'), {attributes: true}); window.then = document.querySelector('video').currentTime; Math.random = () => 0.5`)
	_ = b.conn.CloseNow()
	lost := time.Now()
	b = v.site.nextBrain()
	// 2,000 pages that lose a brain at once come back spread over 4.5 s.
	if took := time.Since(lost); took < 2*time.Second || took > 4*time.Second {
		v.Errorf("the page came back after %v, and its dice say 2.3 s", took)
	}
	if b.hello.Resume != "resume" || b.hello.SDP != "" || b.hello.Ticket != "" {
		v.Errorf("hello = %+v, want the resume token alone", b.hello)
	}
	b.say(wire.Message{Type: wire.MsgGranted, Grant: v.site.grant(true)})
	v.until(`document.querySelector('video').currentTime > then + 0.5`)
	v.until(`seen.every((phase) => phase === 'streaming')`)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	v.untilText("You were away")
}

func walkMediaLoss(v *visit) {
	_, st := v.play()
	st.close()
	b := v.site.backAgain()
	b.say(wire.Message{Type: wire.MsgAnswer}) // the seat has no connection to keep
	v.state("reconnecting")
	v.untilText("The app is still running")
	offer := b.hear(wire.MsgOffer)
	v.shot("reconnecting")
	v.site.answer(b, offer.SDP)
	v.state("streaming")
	v.until(`!document.querySelector('.still').classList.contains('shown')`)
}

// The network is cut without a word, and the brain's socket dies with it: the
// page finds out by itself, and comes back through the brain.
func walkSilence(v *visit) {
	_, st := v.play()
	started := time.Now()
	st.line.cut.Store(true)
	b := v.site.nextBrain() // it asks for another way, and gets no answer
	v.state("reconnecting")
	if took := time.Since(started); took > 6*time.Second {
		v.Errorf("the page noticed after %v", took)
	}
	v.until(`document.querySelector('.still').classList.contains('shown')`)
	_ = b.conn.CloseNow()
	testkit.Until(v, "the page comes back", func() bool {
		select {
		case b := <-v.site.brains: // on a slow machine it may come again
			if b.hello.Resume != "resume" || b.hello.SDP == "" {
				v.Errorf("hello = %+v, want resume and an offer", b.hello)
			}
			_ = b.try(wire.Message{Type: wire.MsgGranted, Grant: v.site.grant(true)})
			v.site.answer(b, b.hello.SDP)
		default:
		}
		return evaluate[string](v, "nearcast.state") == "streaming"
	})
	v.until(`document.querySelector('video').videoWidth === 1280`)
	v.site.mu.Lock()
	defer v.site.mu.Unlock()
	if n := len(v.site.launches); n != 1 {
		v.Errorf("%d launches, want the one", n)
	}
}

func walkReload(v *visit) {
	v.play()
	v.reload()
	b := v.site.nextBrain()
	if b.hello.Resume != "resume" || b.hello.SDP == "" {
		v.Errorf("hello after a reload = %+v, want resume and an offer", b.hello)
	}
	v.untilText("Reconnecting")
	v.site.serve(b, true)
	v.state("streaming")

	v.reload()
	b = v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgRefused, Problem: &wire.Problem{Type: wire.ProblemResume, Title: "The session is over", Status: 410}})
	v.state("ready")
	v.untilText("Your earlier session has ended")
}

func walkEnds(v *visit) {
	b, _ := v.play()
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the stream host of seat-1 was killed"}})
	v.untilText("The session was lost")
	v.untilText("error(stream-host-died): the stream host of seat-1 was killed")
	v.shot("ended-error")
	v.press(".primary")
	b = v.site.nextBrain()
	v.site.serve(b, false)
	v.state("streaming")
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonAppExited, ExitCode: 3}})
	v.untilText("app-exited(3)")
	v.until(`sessionStorage.length === 0`)
}

// A person is told before their session ends for those who wait; the picture goes on.
func walkEnding(v *visit) {
	b, _ := v.play()
	b.say(wire.Message{Type: wire.MsgEnding, Ending: &wire.Ending{Reason: wire.ReasonTimeLimit, AfterS: 60}})
	v.untilText("Others are waiting")
	v.untilText("about a minute")
	v.state("streaming")
	v.shot("ending")
	b.say(wire.Message{Type: wire.MsgEnding, Ending: &wire.Ending{Reason: wire.ReasonTimeLimit, AfterS: 1}})
	v.until(`document.querySelector('.banner').hidden`)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonTimeLimit}})
	v.untilText("Time is up")
}

func walkRefused(v *visit) {
	v.site.problem = &wire.Problem{Type: wire.ProblemNoSite, Title: "No site can take you now", Status: 503, Detail: "Every seat of Model Viewer is taken, and its sites may start no more. Try again in a few minutes."}
	v.open("/play/viewer")
	v.press(".play-button")
	v.untilText("No site can take you now")
	v.untilText("Every seat of Model Viewer is taken")
	v.shot("refused")
	v.site.mu.Lock()
	v.site.problem = nil
	v.site.mu.Unlock()
	v.press(".primary")
	v.site.nextBrain()
}

func walkUnknown(v *visit) {
	v.open("/play/no%20such")
	v.untilText("No such app")
	v.untilText("no such")
	v.shot("unknown")
}

func walkPhone(v *visit) {
	v.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	v.open("/play/viewer")
	v.untilText("eu-central is")
	v.shot("phone-ready")
	v.press(".play-button")
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhaseDisplay, Fraction: -1}})
	v.untilText("Preparing the display")
	v.shot("phone-starting")
	v.until(`document.documentElement.scrollWidth <= 390`)
	v.site.serve(b, false)
	v.state("streaming")
	// 1280x720 in 390x844 is 390x219.375 in the middle: a tap on its quarter.
	touch := func(kind input.DispatchTouchEventType, points ...*input.TouchPoint) {
		v.Helper()
		command(v, input.DispatchTouchEvent, input.DispatchTouchEventParams{Type: kind, TouchPoints: append([]*input.TouchPoint{}, points...)})
	}
	const start, move, end = input.DispatchTouchEventTypeTouchStart, input.DispatchTouchEventTypeTouchMove, input.DispatchTouchEventTypeTouchEnd
	at := func(x, y float64) *input.TouchPoint { return &input.TouchPoint{X: x, Y: y} }
	touch(start, at(97.5, 422))
	touch(end)
	v.site.wantInput("tap", func(in wire.Input) bool {
		return in.Type == wire.InputDown && in.Button == 0 && near(in.X, 0.25) && near(in.Y, 0.5)
	})
	v.site.wantInput("tap's end", func(in wire.Input) bool { return in.Type == wire.InputUp && in.Button == 0 })
	touch(start, at(195, 422))
	touch(move, at(230, 422))
	touch(move, at(273, 422))
	touch(end)
	v.site.wantInput("drag", func(in wire.Input) bool { return in.Type == wire.InputDown && in.Button == 0 && near(in.X, 0.5) })
	v.site.wantInput("drag's end", func(in wire.Input) bool { return in.Type == wire.InputUp && near(in.X, 0.7) })
	v.script(`document.querySelector('.tab').click(); document.querySelector('[aria-label^="Statistics ("]').click()`)
	v.until(`document.querySelector('.stats').innerText.includes('H264')`)
	v.until(`[...document.querySelectorAll('.tools button:not([hidden])')].every((tool) => tool.getBoundingClientRect().right <= 390)`)
	v.shot("phone-streaming")
	v.do(chromedp.EmulateViewport(844, 390, chromedp.EmulateMobile, chromedp.EmulateTouch))
	v.shot("phone-landscape")
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonTimeLimit}})
	v.untilText("Time is up")
}
