package web_test

import (
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// shop is a page of another origin that shows players of a site: with the strictest policy
// under which that is possible, and with key handlers of its own.
type shop struct{ url string }

const shopScript = `
window.seen = []; window.keys = []; window.violations = [];
for (const type of ['keydown', 'keyup', 'keypress', 'paste']) document.addEventListener(type, (event) => keys.push(event.type + ' ' + (event.code ?? '')));
document.addEventListener('securitypolicyviolation', (event) => violations.push(event.violatedDirective + ' ' + event.blockedURI));
for (const player of document.querySelectorAll('nearcast-player')) {
	for (const type of ['state', 'queue', 'stats', 'message', 'ended']) {
		player.addEventListener(type, ({ detail }) => seen.push([type, detail]));
	}
}
for (const button of document.querySelectorAll('button.go')) button.addEventListener('click', () => button.closest('nearcast-player').play());
window.player = document.querySelector('nearcast-player');
if (location.hash === '#play') player.play();
`

// openShop opens a page of another origin, with this in its body.
func (v *visit) openShop(body string) *shop {
	v.Helper()
	s := serveShop(v, body)
	v.navigate(s.url)
	return s
}

func serveShop(v *visit, body string) *shop {
	site := v.site.server.URL
	policy := fmt.Sprintf("default-src 'none'; script-src 'self' %s; connect-src %s %s; img-src %s data:; base-uri 'none'; form-action 'none'; frame-src http:",
		site, site, strings.Replace(site, "http", "ws", 1), site)
	mux := http.NewServeMux()
	mux.HandleFunc("GET /shop.js", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "text/javascript")
		_, _ = w.Write([]byte(shopScript))
	})
	mux.HandleFunc("GET /{$}", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Security-Policy", policy)
		w.Header().Set("Content-Type", "text/html; charset=utf-8")
		_, _ = fmt.Fprintf(w, `<!doctype html><html lang="en"><title>Shop</title><meta name="viewport" content="width=device-width">
<input id="field" aria-label="Search"><script type="module" src="%s/assets/js/element.js"></script><script type="module" src="/shop.js"></script>%s`,
			site, strings.ReplaceAll(body, "SITE", site))
	})
	server := httptest.NewServer(mux)
	v.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return &shop{url: server.URL}
}

// A page of another origin has a player, with a launch token, and events of all that happens. What
// the person types goes to one of both.
func walkEmbedded(v *visit) {
	v.site.token = "good"
	v.openShop(`<nearcast-player src="SITE" app="viewer" token="bad"></nearcast-player>`)
	v.untilText("The launch token of this page was not accepted")
	v.until(`player.state === 'unavailable' && seen.some(([type, { state }]) => type === 'state' && state === 'unavailable')`)
	v.until(`document.querySelector('a.primary') === null`) // this page lists no apps
	v.script(`player.token = 'good'`)
	v.until(`player.state === 'ready' && document.querySelector('.play-button')`)
	if evaluate[bool](v, `document.activeElement.classList.contains('play-button')`) {
		v.Error("the player took the focus from the page")
	}
	v.shot("embedded-ready")
	v.press(".play-button")
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: 30_000}})
	v.until(`player.queue?.position === 2 && player.queue.estimateMS === 30000 && seen.some(([type, { position }]) => type === 'queue' && position === 2)`)
	v.site.serve(b, false)
	v.until(`player.state === 'streaming' && player.session.id === 'session-eu-central' && player.session.site === 'eu-central'`)
	v.until(`seen.some(([type, { fps }]) => type === 'stats' && fps > 0)`)
	v.shot("embedded-streaming")

	v.site.said.say(`{"hello":"page"}`)
	v.until(`seen.some(([type, { data }]) => type === 'message' && data.hello === 'page')`)
	evaluate[bool](v, `player.send({ part: 'door' }).then(() => true)`)
	v.appHas(`{"part":"door"}`)

	v.keys("w")
	v.site.wantInput("a key", func(in wire.Input) bool { return in.Code == "KeyW" && !in.Pressed })
	if got := evaluate[[]string](v, `keys`); len(got) > 0 {
		v.Errorf("the page got %v, which the app has", got)
	}
	v.script(`document.querySelector('#field').focus()`)
	v.site.wantInput("release of all keys", func(in wire.Input) bool { return in.Type == wire.InputBlur })
	v.keys("q")
	v.until(`keys.includes('keydown KeyQ') && keys.includes('keyup KeyQ') && document.querySelector('#field').value === 'q'`)
	// What the app wants of the mouse changes while the person uses the page: the focus stays.
	v.site.tell(wire.Pointer{Hidden: true})
	v.until(`document.querySelector('.surface').style.cursor === 'none'`)
	v.until(`document.activeElement.id === 'field'`)
	v.site.tell(wire.Pointer{Image: arrow, X: 1, Y: 1})
	v.until(`document.querySelector('.surface').style.cursor.includes('data:image/png')`)
	v.press(".surface")
	v.keys("e")
	v.site.wantInput("a key", func(in wire.Input) bool {
		if in.Code == "KeyQ" {
			v.Error("the app got a key that was for the page")
		}
		return in.Code == "KeyE"
	})
	v.script(`player.end()`)
	b.hear(wire.MsgLeave)
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonLeft}})
	v.until(`seen.some(([type, { reason }]) => type === 'ended' && reason === 'left')`)
	v.until(`player.state === 'ended'`)
	if got := evaluate[[]string](v, `violations`); len(got) > 0 {
		v.Errorf("the page's policy refused %v", got)
	}
	if got := evaluate[string](v, `seen.filter(([type]) => type === 'state').map(([, { state }]) => state).join(' ')`); got != "unavailable ready launching connecting queued granted streaming leaving ended" {
		v.Errorf("states: %s", got)
	}
	if got := evaluate[string](v, `player.send('x').then(() => 'sent', (error) => error.message)`); got != "there is no session" {
		v.Errorf("send gave %s", got)
	}
}

// What the page changes, and when, does not mislead the player.
func walkChanges(v *visit) {
	v.site.token = "good"
	v.openShop(`<nearcast-player src="SITE" app="viewer" token="bad"></nearcast-player>`)
	states := func(want string) {
		v.Helper()
		v.until(fmt.Sprintf(`player.state === %q`, want[strings.LastIndex(want, " ")+1:]))
		if got := evaluate[string](v, `seen.filter(([type]) => type === 'state').map(([, { before, state }]) => before + '>' + state).join(' ')`); !chained(got, want) {
			v.Errorf("states: %s, want %s", got, want)
		}
		v.script(`seen.length = 0`)
	}
	states("ready unavailable")
	// The page knows better than the last answer.
	v.script(`player.token = 'good'; player.play()`)
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 2, EstimateMS: -1}})
	states("unavailable launching connecting queued")
	v.script(`player.end()`)
	b.hear(wire.MsgLeave)
	v.until(`seen.some(([type, { reason }]) => type === 'ended' && reason === 'left')`)
	states("queued ready")
	// Words come after a click on Play: the session keeps those that it has.
	v.script(`player.lang = 'fr'; document.querySelector('.play-button').click()`)
	b = v.site.nextBrain()
	v.site.serve(b, false)
	states("ready launching connecting granted streaming")
	v.until(`performance.getEntriesByType('resource').some(({ name, responseEnd }) => name.endsWith('/words/fr.js') && responseEnd > 0)`)
	// Another app is another session, though the old one would have taken the call.
	if got := evaluate[string](v, `player.state + ' ' + seen.some(([type]) => type === 'ended')`); got != "streaming false" {
		v.Errorf("with the words there: %s", got)
	}
	v.script(`player.app = 'other'; player.play()`)
	b.hear(wire.MsgLeave)
	next := v.site.nextBrain()
	v.site.serve(next, false)
	states("ready launching connecting granted streaming")
	v.until(`document.querySelector('.player').lang === 'fr'`)
	v.site.mu.Lock()
	if n := len(v.site.launches); v.site.launches[n-1].App != "other" || n != 3 {
		v.Errorf("launches: %+v", v.site.launches)
	}
	v.site.mu.Unlock()
	// What is no address of a router gets nothing.
	v.script(`player.src = 'play.example.com'`)
	next.hear(wire.MsgLeave)
	v.until(`player.state === 'unavailable' && seen.some(([type, { problem }]) => type === 'state' && problem?.title) && document.querySelector('.player') === null`)
	// A call of play() that end() followed is none.
	v.script(`const late = document.createElement('nearcast-player'); late.play(); late.end(); late.src = document.querySelector('script').src.replace(/assets.*/, '');
		late.token = 'good'; late.app = 'viewer'; window.late = late; document.body.append(late)`)
	v.until(`late.shadowRoot.querySelector('.play-button') && late.state === 'ready'`)
	v.script(`late.home = '/apps'; late.home = undefined`)
	v.until(`!late.hasAttribute('home')`)
}

// chained reports whether changes, "a>b b>c", lead through these states, "a b c", and no others.
func chained(changes, states string) bool {
	all := strings.Fields(states)
	var want []string
	for i := range all[1:] {
		want = append(want, all[i]+">"+all[i+1])
	}
	return changes == strings.Join(want, " ")
}

// Two players of one app in one page know nothing of each other.
func walkTwoPlayers(v *visit) {
	v.openShop(`<nearcast-player src="SITE" app="viewer"></nearcast-player><nearcast-player id="second" src="SITE" app="viewer"></nearcast-player>`)
	v.until(`document.querySelectorAll('.play-button').length === 2`)
	v.script(`window.players = [...document.querySelectorAll('nearcast-player')]; players[0].play()`)
	first := v.site.nextBrain()
	v.site.serve(first, false)
	v.until(`players[0].state === 'streaming' && players[1].state === 'ready'`)
	one := v.site.page.Load()
	v.script(`players[1].play()`)
	second := v.site.nextBrain()
	v.site.serve(second, false)
	v.until(`players.every(({ state }) => state === 'streaming')`)
	v.until(`[...document.querySelectorAll('video')].every((video) => video.videoWidth === 1280)`)
	if keys := evaluate[[]string](v, `Object.keys(sessionStorage).filter((key) => key.startsWith('nearcast:session:'))`); len(keys) != 2 {
		v.Errorf("the sessions are remembered as %v", keys)
	}
	// The second one was played last and has the keys.
	v.keys("s")
	v.site.wantInput("a key", func(in wire.Input) bool { return in.Code == "KeyS" && !in.Pressed })
	v.until(`document.activeElement.getRootNode().host === players[1]`)
	// Both come back to their own seats.
	v.reload()
	for range 2 {
		b := v.site.nextBrain()
		if b.hello.Resume != "resume" {
			v.Errorf("hello = %+v, want resume", b.hello)
		}
		v.site.serve(b, true)
		first, second = second, b
	}
	v.until(`document.querySelectorAll('nearcast-player').length === 2 && [...document.querySelectorAll('nearcast-player')].every(({ state }) => state === 'streaming')`)
	if one == v.site.page.Load() {
		v.Error("no channel was opened anew")
	}
	v.until(`[...document.querySelectorAll('nearcast-player')].every(({ session }) => session.id === 'session-eu-central' && session.site === 'eu-central')`)
	// One that moves goes on; one that is taken away leaves.
	v.script(`document.querySelector('#second').focus();
		document.querySelector('#second').shadowRoot.querySelector('.surface').dispatchEvent(new KeyboardEvent('keydown', { code: 'KeyH', key: 'h', bubbles: true, cancelable: true }))`)
	v.site.wantInput("a key that is held", func(in wire.Input) bool { return in.Code == "KeyH" && in.Pressed })
	v.script(`document.body.prepend(document.querySelector('#second'))`)
	v.site.wantInput("release of all keys", func(in wire.Input) bool { return in.Type == wire.InputBlur })
	v.until(`document.activeElement.getRootNode().host?.id === 'second'`)
	v.until(`(window.at ??= document.querySelector('#second').shadowRoot.querySelector('video').currentTime) + 0.3 < document.querySelector('#second').shadowRoot.querySelector('video').currentTime`)
	v.script(`document.querySelector('#second').remove()`)
	gone := first
	select {
	case <-first.done:
	case <-second.done:
		gone = second
	case <-v.ctx.Done():
		v.Fatal("the player that was taken away kept its socket")
	}
	gone.hear(wire.MsgLeave)
	v.until(`document.querySelector('nearcast-player').state === 'streaming' && Object.keys(sessionStorage).filter((key) => key.startsWith('nearcast:session:')).length === 1`)
}

// In a frame of a page of a third origin, the first click brings the keys.
func walkFramed(v *visit) {
	inner := serveShop(v, `<nearcast-player src="SITE" app="viewer"></nearcast-player>`)
	v.openShop(fmt.Sprintf(`<div><iframe width="960" height="600" src="%s/#play"></iframe></div>`, inner.url))
	v.site.serve(v.site.nextBrain(), false)
	v.script(`document.querySelector('#field').focus()`)
	testkit.Until(v, "a click reaches the app", func() bool {
		v.clickAt(500, 300)
		for {
			select {
			case in := <-v.site.inputs:
				if in.Type == wire.InputDown {
					return true
				}
			default:
				return false
			}
		}
	})
	v.keys("k")
	v.site.wantInput("a key", func(in wire.Input) bool { return in.Code == "KeyK" && in.Pressed })
	if got := evaluate[string](v, `document.querySelector('#field').value`); got != "" {
		v.Errorf("the page got %q", got)
	}
}

// The page has screens of its own.
func walkSlots(v *visit) {
	v.openShop(`<nearcast-player src="SITE" app="viewer"><section slot="ready"><h2>Our turbine</h2><button class="go">Turn it</button></section>
		<p slot="waiting">Warming up</p><p slot="ended">That was it</p></nearcast-player>`)
	shown := func(slot string) string {
		return fmt.Sprintf(`document.querySelector('[slot=%s]').checkVisibility()`, slot)
	}
	v.until(shown("ready"))
	v.until(`!` + shown("waiting") + ` && !document.querySelector('.play-button').checkVisibility()`)
	v.press("button.go")
	b := v.site.nextBrain()
	v.until(shown("waiting") + ` && !` + shown("ready"))
	v.site.serve(b, false)
	v.until(`player.state === 'streaming' && !` + shown("waiting"))
	v.keys("w")
	v.site.wantInput("a key", func(in wire.Input) bool { return in.Code == "KeyW" })
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonTimeLimit}})
	v.until(shown("ended"))
}

// The player speaks the language of its element, of its page, or of the browser; and the page
// has texts of its own.
func walkLanguages(v *visit) {
	v.openShop(`<nearcast-player src="SITE" app="viewer" lang="de-CH"></nearcast-player><div lang="ja"><nearcast-player src="SITE" app="viewer"></nearcast-player></div>
		<nearcast-player id="own" src="SITE" app="viewer"></nearcast-player>`)
	for _, text := range []string{"Starten", "開始", "Sofort bereit"} {
		v.untilText(text)
	}
	v.script(`document.querySelector('#own').words = { play: 'Spin it' }`)
	v.untilText("Spin it")
	v.script(`document.querySelector('#own').lang = 'fr'`)
	v.untilText("Prête")
	v.untilText("Spin it") // the page's texts are for all languages
	v.until(`player.shadowRoot.querySelector('.player').lang === 'de'`)
	v.shot("embedded-languages")
	// A page may set properties before the script of the element has come.
	v.script(`const early = document.createElement('nearcast-early'); early.app = 'viewer'; early.src = player.src; early.words = { play: 'Early bird' }; document.body.append(early);
		customElements.define('nearcast-early', class extends customElements.get('nearcast-player') {})`)
	v.until(`document.querySelector('nearcast-early').shadowRoot?.textContent.includes('Early bird')`)
	v.script(`player.play()`)
	b := v.site.nextBrain()
	b.say(wire.Message{Type: wire.MsgQueued, Queue: &wire.Queue{Position: 3, EstimateMS: -1}})
	v.untilText("Sie sind Nummer 3 in der Warteschlange")
	b.say(wire.Message{Type: wire.MsgEnded, End: &wire.End{Reason: wire.ReasonIdle}})
	v.untilText("Sie waren nicht da")
	v.script(`player.src = 'http://127.0.0.1:9'`)
	v.script(`player.play()`)
	v.untilText("Der Dienst ist nicht erreichbar")
}
