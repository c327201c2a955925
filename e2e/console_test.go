package e2e

import (
	"fmt"
	"os"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// TestConsole looks at a real site through its console, and acts: what the page, its service, router, Nomad and Consul
// have of one session is the same, an operator looks at its picture, of which the person is told, and ends it.
func TestConsole(t *testing.T) {
	ctx := testkit.Context(t, 2*time.Minute)
	app := runApp(ctx, t, map[string]string{"stills": "operator"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	person := open(ctx, t, app)
	play(ctx, t, person)

	token, err := os.ReadFile(site.OperatorToken())
	testkit.Must(t, err)
	console, err := chrome.Open(ctx, site.ConsoleURL())
	testkit.Must(t, err)
	t.Cleanup(console.Close)
	t.Cleanup(func() {
		if t.Failed() {
			t.Logf("the console's page said: %q", console.Console())
		}
	})
	until := func(condition string) {
		t.Helper()
		testkit.Must(t, console.Until(ctx, condition))
	}
	// press presses a button by its text: of the question, where one is open.
	press := func(text string) {
		t.Helper()
		until(fmt.Sprintf(`[...(document.querySelector('dialog') ?? document).querySelectorAll('button:not([hidden])')].some((b) => b.textContent === %q && !b.disabled && (b.click(), true))`, text))
	}

	// A person who is not known comes to the form, and from there to the page.
	until(`location.pathname === '/console/login' && document.querySelector('[name=token]')`)
	testkit.Must(t, console.Eval(ctx, `(() => { document.querySelector('[name=token]').value = `+strconv.Quote(strings.TrimSpace(string(token)))+`; document.querySelector('form').requestSubmit(); })()`, nil))
	until(`location.pathname === '/console' && window.nearcastConsole?.model.complete && document.querySelector('.line').dataset.state === 'live'`)
	until(`document.querySelectorAll('.site-card').length === 1 && document.querySelector('.site-card .chip').innerText === 'in service' && document.querySelectorAll('.trouble li').length === 0`)

	// The node is taken out of use and back.
	const node = `[...nearcastConsole.model.nodes.values()].find((n) => n.version && n.load)`
	until(node)
	testkit.Must(t, console.Eval(ctx, "location.hash = '#nodes/' + "+node+".site + '/' + "+node+".id", nil))
	press("Take nothing new")
	press("Take nothing new")
	until(`!` + node + `.eligible && !document.querySelector('dialog')`)
	press("Take seats again")
	press("Take seats again")
	until(node + `.eligible && !document.querySelector('dialog')`)

	// The session is there, with what its seat measures, why it is where it is, and where it runs.
	session := fmt.Sprintf(`[...nearcastConsole.model.sessions.values()].find((s) => s.app === %q && s.state === 'streaming')`, app)
	until(session + `?.measured && ` + session + `.node`)
	testkit.Must(t, console.Eval(ctx, `location.hash = '#sessions/' + `+session+`.session`, nil))
	until(`document.querySelector('tr.chosen') && document.querySelector('.why-slow h2').innerText`)
	until(`document.querySelector('.facts a[href^="#nodes/"]')`) // Consul and Nomad name the node alike
	press("Look at the picture")
	press("Look")
	until(`(() => { const c = document.querySelector('.still:not([hidden]) canvas'); return c?.width === 640 && c.height === 360 && c.getContext('2d').getImageData(0, 0, 640, 360).data.some((v, i) => i % 4 < 3 && v > 40); })()`)
	testkit.Must(t, person.Until(ctx, `document.querySelector('.banner:not([hidden])')?.innerText.includes('Somebody looks at your picture')`))
	press("End session")
	press("End session")
	if text := ended(ctx, t, person); !strings.Contains(strings.ToLower(text), "ended") {
		t.Errorf("the person reads %q", text)
	}
	until(`document.querySelector('.ribbon:not([hidden])')?.innerText.startsWith('This session is over')`)

	testkit.Must(t, console.Eval(ctx, `location.hash = '#log'`, nil))
	until(`[...document.querySelectorAll('tbody tr')].map((tr) => tr.children[3].innerText + ' ' + tr.children[6].innerText).join() === 'ended a session ok,looked at a still ok,took a node into use ok,took a node out of use ok,logged in ok'`)
	press("Log out")
	until(`location.pathname.startsWith('/console/log') && document.querySelector('h1')`)
	if said := console.Console(); len(said) > 0 {
		t.Errorf("the page complains: %q", said)
	}
}
