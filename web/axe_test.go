package web_test

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/chromedp/chromedp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// complaint is what axe-core finds fault with.
type complaint struct {
	ID     string `json:"id"`
	Impact string `json:"impact"`
	Help   string `json:"help"`
	Nodes  []struct {
		Target  any    `json:"target"`
		HTML    string `json:"html"`
		Summary string `json:"failureSummary"`
	} `json:"nodes"`
}

// accessible has axe-core look at the page, and into the shadow roots of its players. What is
// serious or critical fails the test.
func (v *visit) accessible(screen string) {
	v.Helper()
	script, err := os.ReadFile(filepath.Join(npmProject(v), "node_modules", "axe-core", "axe.min.js"))
	if err != nil {
		v.Fatal(err)
	}
	// What moves is looked at when it has come to rest.
	found, err := chromedp.Run(v.ctx, chromedp.Evaluate[[]complaint](fmt.Sprintf(`(async () => {
		if (!window.axe) { const module = undefined; const define = undefined; %s }
		const roots = [document, ...[...document.querySelectorAll('nearcast-player')].map((player) => player.shadowRoot)];
		for (const root of roots) for (const animation of root.getAnimations()) { try { animation.finish(); } catch { animation.cancel(); } }
		const { violations, passes } = await window.axe.run(document, { resultTypes: ['violations'] });
		const player = document.querySelector('nearcast-player');
		if (player?.shadowRoot.querySelector('.player') && !passes.concat(violations).some(({ nodes }) => nodes.some(({ target }) => Array.isArray(target[0])))) throw new Error('axe-core did not look into the player');
		return violations.filter(({ impact }) => impact === 'serious' || impact === 'critical');
	})()`, script), chromedp.EvalAwaitPromise))
	if err != nil {
		v.Fatalf("axe-core at %s: %v", screen, err)
	}
	for _, one := range found {
		for _, node := range one.Nodes {
			v.Errorf("%s: %s (%s): %s: %v %s\n%s", screen, one.ID, one.Impact, one.Help, node.Target, node.HTML, strings.TrimSpace(node.Summary))
		}
	}
}

// All screens are dark: there is no light look.
func walkAxeSession(v *visit) { axeSession(v) }
func walkAxeOthers(v *visit)  { axeOthers(v) }

func walkAxeSessionPhone(v *visit) {
	v.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	axeSession(v)
}

func walkAxeOthersPhone(v *visit) {
	v.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	axeOthers(v)
}

// axeSession goes from Play to the help.
func axeSession(v *visit) {
	manySites(v)
	v.open("/play/viewer")
	v.untilText("eu-central is")
	v.accessible("ready")
	v.press(".play-button")
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 3, EstimateMS: 95_000}})
	v.untilText("You are number 3 in the queue")
	v.accessible("queue")
	v.until(`document.querySelector('.waiting details.why')`) // it comes in the background
	v.script(`document.querySelector('details.why').open = true`)
	v.accessible("queue, with the reasons of the place")
	b.say(wire.Message{Type: wire.MsgStarting, Progress: &wire.Progress{Phase: wire.PhaseContent, Fraction: 0.4, Detail: "96 of 240 MB"}})
	v.untilText("96 of 240 MB")
	v.accessible("starting")
	grant := v.site.grant(false)
	grant.Display.Pointer, grant.Display.Clipboard, grant.Display.Audio = wire.PointerRelative, wire.ClipboardBoth, true
	b.say(wire.Message{Type: wire.MsgGranted, Grant: grant})
	v.site.answer(b, b.hello.SDP)
	v.state("streaming")
	v.until(`document.querySelector('.toolbar').classList.contains('open')`)
	v.script(`document.querySelector('.tab').click()`)
	v.accessible("streaming, with the toolbar")
	v.script(`document.querySelector('[aria-label^="Statistics ("]').click()`)
	v.until(`document.querySelector('.stats').innerText.includes('H264')`)
	v.script(`document.querySelector('.stats details').open = true`)
	v.accessible("statistics")
	// What the last press of End asks is shown for some seconds.
	v.script(`document.querySelector('.tab').click(); document.querySelector('.tool.end').click()`)
	v.accessible("the question before the end")
	b.say(wire.Message{Type: wire.MsgEnding, Ending: &wire.Ending{Reason: wire.ReasonTimeLimit, AfterS: 60}})
	v.untilText("Others are waiting")
	v.accessible("a message over the picture")
	v.script(`document.querySelector('.toolbar [aria-label^="What you can do"]').click()`)
	v.until(`document.querySelector('dialog.help').open`)
	v.accessible("help")
}

// axeOthers has what comes after a session or instead of one, and the other pages.
func axeOthers(v *visit) {
	manySites(v)
	_, st := v.play()
	st.close()
	b := v.site.backAgain()
	b.say(wire.Message{Type: wire.MsgAnswer})
	v.state("reconnecting")
	v.untilText("The app is still running")
	v.accessible("reconnecting")
	end := wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonError, Code: wire.CodeStreamHostDied, Detail: "the stream host of seat-1 was killed"}}
	testkit.Until(v, "the page hears of the end", func() bool {
		select {
		case b = <-v.site.brains: // it has come again meanwhile
		default:
		}
		_ = b.try(end)
		return evaluate[string](v, "nearcast.state") == "ended"
	})
	v.untilText("error(stream-host-died)")
	v.accessible("ended")
	v.script(`document.querySelector('details.why').open = true`)
	v.accessible("ended, with the reasons of the place")
	v.site.mu.Lock()
	v.site.problem = &wire.Problem{Type: wire.ProblemNoSite, Title: "No site can take you now", Status: 503, Detail: "Try again in a few minutes."}
	v.site.mu.Unlock()
	v.press(".primary")
	v.untilText("No site can take you now")
	v.accessible("refused")
	v.site.mu.Lock()
	v.site.problem, v.site.token = nil, "good"
	v.site.mu.Unlock()
	v.open("/play/viewer")
	v.untilText("You need a link for this app")
	v.accessible("closed: no token")
	v.openShop(`<main><h1>Shop</h1><nearcast-player src="SITE" app="viewer" token="bad"></nearcast-player></main>`)
	v.untilText("The launch token of this page was not accepted")
	v.accessible("closed, in a page of others")
	v.site.mu.Lock()
	v.site.token, v.site.login = "", &wire.Problem{Type: wire.ProblemLogin, Title: "A login is needed", Status: 401}
	v.site.mu.Unlock()
	v.open("/play/viewer#login=denied")
	v.untilText("The login was refused")
	v.accessible("a login that was refused")
	v.site.mu.Lock()
	v.site.login = &wire.Problem{Type: wire.ProblemLoginGroups, Title: "Not for you", Status: 403, Detail: "Ada is none of those."}
	v.site.mu.Unlock()
	v.open("/play/viewer?again")
	v.untilText("Log in as somebody else")
	v.accessible("closed: not for this person")
	v.script(`localStorage.setItem('nearcast:login:known:viewer', '1')`)
	v.site.mu.Lock()
	v.site.login = nil
	v.site.mu.Unlock()
	v.open("/play/viewer")
	v.untilText("Log out")
	v.accessible("a person who has logged in")
	v.script(`localStorage.clear()`)
	v.site.mu.Lock()
	v.site.apps.Apps = append(v.site.apps.Apps, wire.AppView{ID: "turbine", Title: "Turbine", Sites: map[string]wire.Capacity{"us-east": {Max: 1, Failing: "content-missing"}}},
		wire.AppView{ID: "city", Title: "City", Sites: map[string]wire.Capacity{"eu-central": {Busy: 2, Max: 2, Queued: 3}}})
	v.site.mu.Unlock()
	v.open("/")
	v.until(`document.querySelectorAll('.card').length === 3`)
	v.accessible("home")
	v.site.mu.Lock()
	v.site.apps.Apps = nil
	v.site.mu.Unlock()
	v.open("/")
	v.untilText("nomad job run")
	v.accessible("home without apps")
	v.open("/check")
	v.until(`document.querySelector('#check').ariaBusy === 'false'`)
	v.accessible("check")
}

// manySites makes the reasons of a place more than fit.
func manySites(v *visit) {
	for n := range 8 {
		v.site.others = append(v.site.others, fmt.Sprint("us-east-", n))
	}
}
