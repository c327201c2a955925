package web_test

import (
	"encoding/json"
	"fmt"
	"net"
	"net/netip"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/cdproto/cdp"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// tellNetwork makes the site's brain tell of these TURN servers, with names for checks.
func (r *relay) tellNetwork(s *site, urls ...string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	name, password := turnSecret.ForChecks().Credentials(time.Now().Add(time.Minute))
	s.network = wire.Network{Site: s.name, ICEServers: []wire.ICEServer{}, MediaPorts: []string{"20000-20999"}}
	for _, u := range urls {
		s.network.ICEServers = append(s.network.ICEServers, wire.ICEServer{URLs: []string{u}, Username: name, Credential: password})
	}
}

// A real network: first it is open, then nothing but TCP gets out, and not to the relay.
func TestCheckOfABlockedNetwork(t *testing.T) {
	n := newNetwork(t)
	s := newSiteAt(t, nil, home{space: n.site, address: siteAddress})
	n.plugIn("wire0", "198.18.1.10")
	r := startTURN(t, s.at, time.Minute)
	r.tellNetwork(s, r.udp, r.url)
	ctx, page := n.open(t, s.server.URL+"/check")
	ends := func(head string) {
		t.Helper()
		if err := page.Until(ctx, `document.querySelector('#check').ariaBusy === 'false' && document.querySelector('h1').innerText === '`+head+`'`); err != nil {
			var is string
			_ = page.Eval(ctx, `document.body.innerText`, &is)
			t.Fatalf("%s: %v; the page says %s", head, err, is)
		}
	}
	ends("You can play from here")
	testkit.Must(t, page.Until(ctx, `document.querySelector('.verdict').dataset.kind === 'yes'`))
	port := netip.MustParseAddrPort(strings.TrimSuffix(strings.TrimPrefix(r.url, "turn:"), "?transport=tcp")).Port()
	n.person.sh(t, fmt.Sprintf("ip rule add pref 1 ipproto udp blackhole; ip rule add pref 2 ipproto tcp dport %d blackhole", port))
	testkit.Must(t, page.Click(ctx, ".actions button"))
	ends("Your network may block video") // straight to the machine was not tried
}

// walkCheck asks what the network lets through: one that loses UDP, one that is open, and one
// that lets nothing through to the brain.
func walkCheck(v *visit) {
	type params struct {
		Permissions []string `json:"permissions"`
	}
	command(v, cdp.Command[params, json.RawMessage]{Method: "Browser.grantPermissions"},
		params{[]string{"clipboardReadWrite", "clipboardSanitizedWrite"}})
	s := v.site
	s.far = map[string]time.Duration{"us-east-1": 90 * time.Millisecond, "ap-northeast-1": 230 * time.Millisecond}
	lost, err := net.ListenPacket("udp4", "127.0.0.1:0") // what comes here is not answered
	testkit.Must(v, err)
	v.Cleanup(func() { lost.Close() })
	silent := "turn:" + lost.LocalAddr().String()
	r := startTURN(v.T, s.at, time.Minute)
	row := func(name string) string {
		return `[...document.querySelectorAll('.tries li')].find((li) => li.querySelector('h2').textContent === '` + name + `').dataset.verdict`
	}
	ends := func(kind string) {
		v.Helper()
		v.until(`document.querySelector('#check').ariaBusy === 'false' && document.querySelector('.verdict').dataset.kind === '` + kind + `'`)
	}

	r.tellNetwork(s, silent, r.url)
	v.open("/check")
	// What is known is shown while the rest is tried.
	v.until(row("TCP to the relay") + ` === 'works' && ` + row("UDP to the relay") + ` === 'trying' && document.querySelector('#check').ariaBusy === 'true'`)
	v.shot("check-trying")
	ends("relay")
	for name, want := range map[string]string{"HTTP to the router": "works", "HTTP to the site": "works", "WebSocket to the site": "works", "UDP to the relay": "fails",
		"TCP to the relay": "works", "TLS to the relay": "untried", "Straight to the machine": "untried", "Round trip": "works", "Video in this browser": "works"} {
		if got := evaluate[string](v, row(name)); got != want {
			v.Errorf("%s: %s, want %s", name, got, want)
		}
	}
	for _, text := range []string{"You can play from here", "UDP does not get through to the relay, so the video may come by TCP", "UDP 20000-20999 to any address", "does not answer", "Tokyo"} {
		v.untilText(text)
	}
	v.shot("check")
	v.size(390, 844)
	if wide := evaluate[bool](v, `document.documentElement.scrollWidth > innerWidth`); wide {
		v.Error("the page is wider than a phone")
	}
	v.shot("check-phone")
	v.script(`document.querySelector('.ask').scrollIntoView()`)
	v.shot("check-phone-ask")
	v.size(1280, 800)
	v.script(`document.querySelector('.ask').scrollIntoView()`)
	v.shot("check-ask")

	// The text is copied with the keyboard alone.
	v.script(`document.querySelector('.ask button').focus()`)
	v.keys("\r")
	v.untilText("Copied")
	letter := evaluate[string](v, `navigator.clipboard.readText()`)
	if !strings.Contains(letter, "UDP to the relay: does not work.") || strings.Contains(letter, s.network.ICEServers[0].Credential) {
		v.Errorf("copied %q", letter)
	}

	// A relay that refuses the name has answered: that is not the network's fault.
	r.tellNetwork(s, r.udp, r.url)
	s.mu.Lock()
	s.network.ICEServers[1].Credential = "of another secret"
	s.mu.Unlock()
	v.press(".actions button")
	v.until(`document.activeElement === document.querySelector('h1')`)
	ends("yes")
	for _, name := range []string{"UDP to the relay", "TCP to the relay"} {
		if got := evaluate[string](v, row(name)); got != "works" {
			v.Errorf("%s: %s", name, got)
		}
	}
	v.script(`document.querySelector('.others').scrollIntoView()`)
	v.shot("check-sites")

	s.mu.Lock()
	s.brainAt = "ws://" + lost.LocalAddr().String() + "/v1/connect" // nothing listens there by TCP
	s.mu.Unlock()
	v.press(".actions button")
	ends("no")
	v.untilText("Your network blocks eu-central")
	v.shot("check-blocked")

	// A person whose video did not come finds the page, for the site that they were at.
	link := evaluate[string](v, `Promise.all([import('/assets/js/screens/ended.js'), import('/assets/js/brains.js')]).then(([{ endedScreen }, { noMedia }]) =>
		endedScreen({ phase: 'refused', problem: noMedia(), launch: { site: 'us east' } }, null, {}).node.querySelector('a.check-network').href)`)
	if want := s.server.URL + "/check?site=us%20east"; link != want {
		v.Errorf("the end screen links to %s, want %s", link, want)
	}
}
