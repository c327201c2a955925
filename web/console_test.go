package web_test

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"github.com/nearcast/nearcast/internal/wire"
)

// TestConsole walks the operators' pages with a real Chromium, against a service that the test plays.
// With NEARCAST_SCREENSHOTS=dir it leaves pictures of every screen in dir; those of docs/pictures are
// made so.
func TestConsole(t *testing.T) {
	ctx := startChromium(t)
	for name, walk := range map[string]struct {
		role            wire.ConsoleRole
		sites, sessions int // sessions at each site
		walk            func(*visit, *fakeConsole)
	}{
		"the map and the round trips":            {wire.RoleViewer, 10, 40, walkConsoleMap},
		"ten thousand sessions":                  {wire.RoleViewer, 10, 1000, walkConsoleMany},
		"an operator ends a session":             {wire.RoleOperator, 3, 40, walkConsoleEnd},
		"an operator drains a node":              {wire.RoleOperator, 3, 40, walkConsoleOrders},
		"an admin rolls back, scales, publishes": {wire.RoleAdmin, 3, 40, walkConsolePublish},
		"a viewer sees no actions":               {wire.RoleViewer, 3, 40, walkConsoleViewer},
		"the connection is lost and comes back":  {wire.RoleViewer, 3, 40, walkConsoleLost},
		"the login ends":                         {wire.RoleViewer, 3, 40, walkConsoleLogin},
		"by keyboard":                            {wire.RoleViewer, 3, 40, walkConsoleKeys},
		"axe-core looks at the console":          {wire.RoleAdmin, 10, 40, walkConsoleAxe},
		"axe-core looks at the console, a phone": {wire.RoleAdmin, 10, 40, walkConsoleAxePhone},
	} {
		t.Run(name, func(t *testing.T) {
			if strings.HasPrefix(name, "axe-core ") {
				npmProject(t)
			}
			tab, cancel := chromedp.NewContext(ctx)
			defer cancel()
			tab, cancelTime := context.WithTimeout(tab, 2*time.Minute)
			defer cancelTime()
			v := &visit{T: t, ctx: tab}
			v.size(1280, 800)
			if err := chromedp.Listen(tab, v.complaints); err != nil {
				t.Fatal(err)
			}
			c := newConsole(t, walk.role)
			c.fill(walk.sites, walk.sessions)
			walk.walk(v, c)
		})
	}
}

// at opens a page of the console, and waits for its figures.
func (c *fakeConsole) at(v *visit, hash string) {
	v.Helper()
	v.navigate(c.server.URL + "/console" + hash)
	v.until(`window.nearcastConsole?.model.complete && document.querySelector('#console h1') && document.querySelector('.line').dataset.state === 'live'`)
}

// rows are the texts of the rows that are seen.
const rowsSeen = `[...document.querySelectorAll('.grid-row:not([hidden])')]`

func walkConsoleMap(v *visit, c *fakeConsole) {
	c.at(v, "")
	v.until(`document.title === 'Sites · Nearcast console' && document.querySelectorAll('.map .site').length === 10`)
	v.untilText("10 sites · 400 sessions · 9 waiting")
	v.until(`document.querySelectorAll('.map .link').length === 45`)
	v.shot("console-sites")
	v.script(`document.querySelector('.map [data-site="eu-west-1"]').focus()`)
	v.until(`document.querySelectorAll('.map .link.on').length === 9 && document.querySelectorAll('.map .rtt:not(:empty)').length === 9`)
	v.shot("console-sites-lit")
	// The table has what the map shows: from eu-central-1 to eu-west-1, 4 + 1.1 × (3 + 15) ms.
	v.until(`[...document.querySelectorAll('.matrix tbody tr')].some((tr) => tr.firstChild.innerText === 'eu-central-1' && [...tr.children].some((td) => td.innerText === '24 ms'))`)
	for _, text := range []string{"its brains do not answer", "Its sessions cannot be read now.", "turbine v5", "does not start", "viewer v3", "room for 20, 2 ready"} {
		v.untilText(text)
	}
	// What changes is seen without asking.
	c.mu.Lock()
	site := c.sites[3]
	c.mu.Unlock()
	site.Sessions = 1234
	c.tell(wire.ConsoleEvent{Sites: []wire.ConsoleSite{site}, GoneSites: []string{"af-south-1"}})
	v.untilText("1,234 sessions")
	v.until(`document.querySelectorAll('.map .site').length === 9`)
	v.size(390, 844)
	v.shot("console-sites-phone")
}

func walkConsoleMany(v *visit, c *fakeConsole) {
	v.before(`window.firstRows = 0; window.longTasks = [];
		new PerformanceObserver((list) => { for (const e of list.getEntries()) longTasks.push(Math.round(e.duration)); }).observe({ type: 'longtask', buffered: true });
		const seen = new MutationObserver(() => { if (document.querySelector('.grid-row')) { firstRows = performance.now(); seen.disconnect(); } });
		seen.observe(document, { childList: true, subtree: true });`)
	c.at(v, "#sessions")
	v.untilText("10,000 sessions")
	all := evaluate[float64](v, `performance.now()`)
	loading := evaluate[[]float64](v, `longTasks.splice(0)`)
	v.shot("console-sessions")

	// Changes come meanwhile, as 10,000 seats tell them: each every ten seconds. Then all of them at once.
	type frames struct {
		P50, P95, Max float64
		Tasks         []float64
		Frames        int
	}
	during := func(rounds, n int) frames {
		v.script(`window.deltas = []; longTasks.splice(0); let last = performance.now(); window.watching = true;
			requestAnimationFrame(function next(now) { deltas.push(now - last); last = now; if (watching) requestAnimationFrame(next); });`)
		for round := range rounds {
			c.changeSome(round, n)
			tick := time.NewTimer(time.Second)
			<-tick.C
		}
		return evaluate[frames](v, `(watching = false, deltas.sort((a, b) => a - b), { P50: deltas[Math.floor(deltas.length / 2)], P95: deltas[Math.floor(deltas.length * 0.95)], Max: deltas.at(-1), Frames: deltas.length, Tasks: longTasks.splice(0) })`)
	}
	usual := during(3, 1000)
	most := during(2, 10_000)
	nodes := evaluate[int](v, `document.querySelectorAll('*').length`)
	v.Logf("10,000 sessions: first rows after %.0f ms, all after %.0f ms (long tasks %v ms), %d DOM nodes", evaluate[float64](v, `firstRows`), all, loading, nodes)
	for what, f := range map[string]frames{"1,000 sessions change each second": usual, "10,000 sessions change each second": most} {
		v.Logf("%s: %d frames, p50 %.1f, p95 %.1f, max %.0f ms; long tasks %v ms", what, f.Frames, f.P50, f.P95, f.Max, f.Tasks)
	}
	if nodes > 1500 {
		v.Errorf("%d DOM nodes: rows exist that are not seen", nodes)
	}
	if usual.P95 > 250 {
		v.Errorf("a frame takes %.0f ms (p95) while sessions change", usual.P95)
	}

	// To the last row, and to those that are slow.
	v.script(`document.querySelector('.grid').focus()`)
	v.keys(kb.End)
	v.until(`document.querySelector('.grid-row.active')?.getAttribute('aria-rowindex') === '10001' && document.querySelector('.grid').getAttribute('aria-activedescendant') === document.querySelector('.grid-row.active').id`)
	v.script(`document.activeElement.blur(); const slow = document.querySelector('#filter-slow'); slow.value = 'encoder'; slow.dispatchEvent(new Event('change'))`)
	v.untilText("100 of 10,000 sessions")
	v.until(rowsSeen + `.every((row) => row.querySelector('.c-slow').innerText === 'encoder')`)
	v.until(`location.hash === '#sessions?slow=encoder'`)
	v.script(`document.querySelector('.c-rtt button').click()`)
	v.until(`document.querySelector('.c-rtt').getAttribute('aria-sort') === 'descending'`)
	v.until(rowsSeen + `.toSorted((a, b) => a.getAttribute('aria-rowindex') - b.getAttribute('aria-rowindex')).map((row) => parseFloat(row.querySelector('.c-rtt').innerText)).every((n, i, all) => i === 0 || all[i - 1] >= n)`)
	v.script(`const find = document.querySelector('#find'); find.value = 'eu-west-1 works'; find.dispatchEvent(new Event('input'))`)
	v.until(rowsSeen + `.every((row) => row.querySelector('.c-site').innerText === 'eu-west-1')`)
	v.size(390, 844)
	v.until(rowsSeen + `.length > 2 && getComputedStyle(document.querySelector('.grid-row')).height === '92px'`)
	v.shot("console-sessions-phone")
}

func (c *fakeConsole) slow(app string) wire.SessionView {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, s := range c.sessions {
		if s.Measured != nil && s.Measured.EncodeMS > 33 && (app == "" || s.App == app) {
			return s
		}
	}
	c.t.Fatal("no session has a slow encoder")
	return wire.SessionView{}
}

func walkConsoleEnd(v *visit, c *fakeConsole) {
	s := c.slow("")
	c.at(v, "#sessions/"+s.Session)
	for _, text := range []string{"Slow: the encoder", "A picture takes 6", "x264enc, superfast", "15 pictures a second sent, of 30 that the app paints", "the nearest site with a seat that is ready", "it lies in none of the jurisdictions: eu", "residency: eu"} {
		v.untilText(text)
	}
	v.until(`document.title.startsWith('Session …') && document.title.endsWith('· Nearcast console')`)
	v.shot("console-session")
	v.size(390, 844)
	v.shot("console-session-phone")
	v.size(1280, 800)
	// A look at the picture: nothing is asked for before the question is answered, and nothing is left of it afterwards.
	look := `[...document.querySelectorAll('.detail > .actions button')].find((b) => b.textContent === 'Look at the picture')`
	v.script(look + `.click()`)
	v.untilText("They are told that somebody looks, and the log says that it was you")
	if before := c.ordersNow(); len(before) != 0 {
		v.Errorf("the page asks before the question is answered: %q", before)
	}
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	v.until(`!document.querySelector('dialog') && !document.querySelector('.still').hidden`)
	c.ordered("POST /console/api/sessions/" + s.Session + "/still")
	// JPEG is not exact.
	v.until(`(() => { const [r, g, b] = document.querySelector('.still canvas').getContext('2d').getImageData(320, 180, 1, 1).data; return r > 190 && g < 50 && b < 50; })()`)
	v.shot("console-still")
	v.script(`location.hash = '#sessions'`)
	v.until(rowsSeen + `.length > 4`)
	v.script(fmt.Sprintf(`location.hash = '#sessions/%s'`, s.Session))
	v.until(look + ` && document.querySelector('.still').hidden && document.querySelector('.still canvas').width !== 640`)
	s.Stills = wire.StillsAdmin // not for an operator
	c.tell(wire.ConsoleEvent{Sessions: []wire.SessionView{s}})
	v.until(look + `.hidden`)
	c.mu.Lock()
	c.orders = nil
	c.mu.Unlock()

	end := `[...document.querySelectorAll('.detail > .actions button')].find((b) => b.innerText === 'End session').click()`
	v.script(end)
	v.untilText("what the app has not saved is lost")
	v.shot("console-end")
	v.keys(kb.Escape) // nothing is done
	v.until(`!document.querySelector('dialog')`)
	c.mu.Lock()
	c.refuse = &wire.Problem{Type: wire.ConsoleProblemRole, Title: "Your role may not do this", Status: 403, Detail: "Operators may end sessions."}
	c.mu.Unlock()
	v.script(end)
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	v.until(`document.querySelector('dialog [role=alert]').innerText === 'Your role may not do this. Operators may end sessions.'`)
	c.mu.Lock()
	if len(c.orders) != 1 {
		v.Errorf("ordered was %q", c.orders)
	}
	c.refuse, c.orders = nil, nil
	c.mu.Unlock()
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	v.until(`!document.querySelector('dialog') && document.querySelector('.toast').innerText === 'The session ends.'`)
	c.ordered("DELETE /console/api/sessions/" + s.Session)
	c.tell(wire.ConsoleEvent{GoneSessions: []string{s.Session}})
	v.untilText("This session is over")
	v.until(`!document.querySelector('.detail > .actions').innerText.includes('End session')`)
}

func walkConsoleOrders(v *visit, c *fakeConsole) {
	n := c.nodes[2]
	c.at(v, "#nodes")
	v.until(rowsSeen + `.length > 10`)
	v.shot("console-nodes")
	v.script(fmt.Sprintf(`[...document.querySelectorAll('.grid-row a')].find((a) => a.innerText === %q).click()`, n.Name))
	v.until(fmt.Sprintf(`document.querySelector('h1').innerText === %q && document.activeElement.tagName === 'H1'`, n.Name))
	v.script(`document.querySelector('[data-act="node.drain"]').click(); document.querySelector('#ask-deadline').value = '600'`)
	v.untilText("6 people may play on until the deadline")
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	c.ordered(fmt.Sprintf(`POST /console/api/nodes/%s/%s {"action":"node.drain","deadline_s":600}`, n.Site, n.ID))
	n.Draining, n.Eligible = true, false
	c.tell(wire.ConsoleEvent{Nodes: []wire.ConsoleNode{n}})
	v.until(`document.querySelector('[data-act="node.drain"]').hidden && !document.querySelector('[data-act="node.eligible"]').hidden`)
	v.shot("console-node")

	c.at(v, "#apps/eu-central-1/viewer")
	v.until(`document.querySelectorAll('tbody tr').length === 3`)
	v.until(`!document.querySelector('main').innerText.includes('Roll back') && !document.querySelector('main').innerText.includes('Publish') && !document.querySelector('main').innerText.includes('Change warm')`)
}

func walkConsolePublish(v *visit, c *fakeConsole) {
	c.at(v, "#apps/eu-central-1/viewer")
	v.until(`document.querySelectorAll('tbody tr').length === 3`)
	v.shot("console-app")
	v.script(`document.querySelector('[aria-label="Roll back to version 2"]').click()`)
	v.untilText("is registered again at eu-central-1, as a new version")
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	c.ordered(`POST /console/api/apps/eu-central-1/viewer/revert {"to":2,"version":3}`)
	v.until(`!document.querySelector('dialog')`) // else the next step would answer this question again
	v.script(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Change warm and max').click()`)
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	v.until(`document.querySelector('dialog [role=alert]').innerText === 'Nothing would change.'`)
	v.script(`document.querySelector('#ask-max').value = '55'; document.querySelector('dialog [type=submit]').click()`)
	c.ordered(`POST /console/api/apps/eu-central-1/viewer/scale {"version":3,"max":55}`)
	v.until(`document.querySelector('.toast').innerText === 'viewer at eu-central-1 has version 4.'`)
	v.until(`!document.querySelector('dialog')`)
	v.script(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Publish a version').click()`)
	v.script(`document.querySelector('#ask-job').value = 'job "viewer" {}'; document.querySelector('#ask-variables').value = 'a=b=c'; document.querySelector('dialog [type=submit]').click()`)
	v.untilText("The job is good. viewer would have version 4 at eu-central-1. Nomad warns: group has no update block")
	c.ordered(`POST /console/api/apps/eu-central-1 {"job":"job \"viewer\" {}","variables":{"a":"b=c"},"dry_run":true}`)
	// What is changed after the check is checked again.
	v.script(`const job = document.querySelector('#ask-job'); job.value += ' '; job.dispatchEvent(new Event('input', { bubbles: true }))`)
	v.until(`document.querySelector('dialog [type=submit]').innerText === 'Check'`)
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	v.until(`document.querySelector('dialog [type=submit]').innerText === 'Publish' && !document.querySelector('dialog [aria-busy], dialog[aria-busy]')`)
	v.script(`document.querySelector('dialog [type=submit]').click()`)
	c.ordered(`POST /console/api/apps/eu-central-1 {"job":"job \"viewer\" {} ","variables":{"a":"b=c"}}`)
}

func walkConsoleViewer(v *visit, c *fakeConsole) {
	for hash, loaded := range map[string]string{
		"#sessions/" + c.slow("").Session:                 `document.querySelector('tbody')`,
		"#nodes/" + c.nodes[0].Site + "/" + c.nodes[0].ID: `document.querySelector('.facts dd')`,
		"#apps/eu-central-1/viewer":                       `document.querySelector('tbody')`,
		"#apps":                                           `document.querySelector('.grid-row')`,
	} {
		c.at(v, hash)
		v.until(loaded)
		shown := evaluate[[]string](v, `[...document.querySelectorAll('main button:not([hidden])')].filter((b) => !b.closest('.grid, .filters')).map((b) => b.innerText)`)
		if len(shown) > 0 {
			v.Errorf("%s has %q for a viewer", hash, shown)
		}
	}
	v.until(`document.querySelector('[data-page=log]').hidden`)
}

func walkConsoleLost(v *visit, c *fakeConsole) {
	c.at(v, "#sessions")
	v.untilText("120 sessions")
	gone := c.sessions[0].Session
	c.tell(wire.ConsoleEvent{GoneSessions: []string{gone}})
	v.untilText("119 sessions")
	c.leave(true)
	v.until(`document.querySelector('.line').dataset.state === 'lost' && document.querySelector('.line').innerText.includes('What is shown is old')`)
	v.shot("console-lost")
	c.tell(wire.ConsoleEvent{GoneSessions: []string{c.sessions[1].Session}})
	c.leave(false)
	v.until(`document.querySelector('.line').dataset.state === 'live'`)
	v.untilText("118 sessions") // what came meanwhile, without a snapshot
	c.mu.Lock()
	defer c.mu.Unlock()
	if len(c.resumed) != 2 || c.resumed[0] != "" || c.resumed[1] == "" {
		v.Errorf("the streams began at %q: the second one should go on", c.resumed)
	}
}

func walkConsoleLogin(v *visit, c *fakeConsole) {
	c.at(v, "#sessions?site=eu-west-1")
	c.mu.Lock()
	c.loggedIn = false
	c.mu.Unlock()
	c.leave(true)
	v.until(`location.pathname === '/console/login' && location.search === '?next=%2Fconsole'`)
	c.mu.Lock()
	c.loggedIn, c.away = true, false
	c.mu.Unlock()
	v.navigate(c.server.URL + "/console") // where the login sends the person
	v.until(`location.hash === '#sessions?site=eu-west-1' && document.querySelector('#filter-site')?.value === 'eu-west-1'`)
}

func walkConsoleKeys(v *visit, c *fakeConsole) {
	c.at(v, "#sessions")
	v.until(rowsSeen + `.length > 10`)
	v.script(`document.querySelector('.grid').focus()`)
	v.keys(kb.ArrowDown, kb.ArrowDown, kb.PageDown, kb.ArrowUp)
	v.until(`document.querySelector('.grid-row.active') && document.activeElement.className === 'grid'`)
	row := evaluate[string](v, `document.querySelector('.grid-row.active a').getAttribute('href')`)
	// The row stays the active one while others change places.
	c.changeSome(0, 120)
	v.until(fmt.Sprintf(`document.querySelector('.grid-row.active a').getAttribute('href') === %q && !document.querySelector('.order').hidden`, row))
	v.keys("\r")
	v.until(fmt.Sprintf(`location.hash === %q && document.activeElement.tagName === 'H1'`, row))
}

func walkConsoleAxe(v *visit, c *fakeConsole) { consoleAxe(v, c) }

func walkConsoleAxePhone(v *visit, c *fakeConsole) {
	v.do(chromedp.EmulateViewport(390, 844, chromedp.EmulateMobile, chromedp.EmulateTouch))
	consoleAxe(v, c)
}

func consoleAxe(v *visit, c *fakeConsole) {
	c.at(v, "")
	v.until(`document.querySelector('.matrix')`)
	v.accessible("sites")
	for _, page := range []string{"sessions", "nodes", "apps"} {
		c.at(v, "#"+page)
		v.until(rowsSeen + `.length > 4`)
		v.accessible(page)
	}
	c.at(v, "#sessions/"+c.slow("").Session)
	v.until(`document.querySelector('tbody')`)
	v.accessible("a session")
	v.script(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'End session').click()`)
	v.accessible("the question before an end")
	c.at(v, "#nodes/"+c.nodes[0].Site+"/"+c.nodes[0].ID)
	v.until(`document.querySelector('.facts dd')`)
	v.accessible("a node")
	c.at(v, "#apps/us-east-1/turbine")
	v.until(`document.querySelector('tbody')`)
	v.accessible("an app")
	v.script(`[...document.querySelectorAll('button')].find((b) => b.innerText === 'Publish a version').click()`)
	v.accessible("publish")
	c.at(v, "#log")
	v.until(`document.querySelector('tbody')`)
	v.accessible("log")
	c.leave(true)
	v.until(`document.querySelector('.line').dataset.state === 'lost'`)
	v.accessible("the connection is lost")
}
