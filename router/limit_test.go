package router

import (
	"fmt"
	"net/netip"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// behindProxy believes X-Forwarded-For of the test's own client.
func behindProxy(limits Limits) func(*Config) {
	return func(c *Config) {
		c.Limits = limits
		c.TrustedProxies = []netip.Prefix{netip.MustParsePrefix("127.0.0.0/8")}
	}
}

func TestLaunchesOfANetworkAreLimited(t *testing.T) {
	g := newRig(t, behindProxy(Limits{Launches: Rate{PerSecond: 0.01, Burst: 2}}))
	launch := func(from string) int {
		res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "X-Forwarded-For", from)
		return res.StatusCode
	}
	statuses := func(from ...string) string {
		var out []string
		for _, f := range from {
			out = append(out, strconv.Itoa(launch(f)))
		}
		return strings.Join(out, " ")
	}
	if got := statuses("198.51.100.1", "198.51.100.1", "198.51.100.1"); got != "201 201 429" {
		t.Errorf("one address: %s", got)
	}
	// Before the body is read, so that it costs nothing.
	g.refused(wire.ProblemRate, "POST", "/v1/sessions", `{`, "X-Forwarded-For", "198.51.100.1")
	res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "X-Forwarded-For", "198.51.100.1")
	if s, err := strconv.Atoi(res.Header.Get("Retry-After")); err != nil || s < 90 || s > 100 {
		t.Errorf("Retry-After is %q", res.Header.Get("Retry-After"))
	}
	if got := statuses("198.51.100.2", "198.51.100.3", "198.51.100.3", "198.51.100.4", "198.51.100.5", "198.51.100.6", "198.51.100.7", "203.0.113.1"); got != "201 201 201 201 201 201 429 201" {
		t.Errorf("addresses of one /24, then another: %s", got)
	}
	if got := statuses("2001:db8:1:1::1", "2001:db8:1:1:ffff::2", "2001:db8:1:1::3", "2001:db8:1:2::1"); got != "201 201 429 201" {
		t.Errorf("addresses of one /64, then another: %s", got)
	}
	if got := statuses("2001:db8:1:3::1", "2001:db8:1:4::1", "2001:db8:1:5::1", "2001:db8:1:6::1", "2001:db8:1:7::1", "2001:db8:1:8::1", "2001:db8:2::1"); got != "201 201 201 201 201 429 201" {
		t.Errorf("networks of one /48, then another: %s", got)
	}
	for _, want := range []string{`nearcast_router_limited_total{kind="launch",network="near"} 4`, `nearcast_router_limited_total{kind="launch",network="wide"} 2`} {
		if !strings.Contains(g.metrics(), want) {
			t.Errorf("metrics lack %s", want)
		}
	}
	if strings.Contains(g.logs.String(), "level=INFO msg=request method=POST route=/v1/sessions status=429") {
		t.Error("a flood of requests is a flood of log lines")
	}
	if res, _ := g.call("GET", "/v1/apps", nil, "X-Forwarded-For", "198.51.100.1"); res.StatusCode != 200 {
		t.Error("launches count as other requests")
	}
}

func TestOtherRequestsAreLimited(t *testing.T) {
	session := ticket.NewSession()
	for path, method := range map[string]string{
		"/v1/apps": "GET", "/v1/sites": "GET", "/v1/probes": "POST",
		"/v1/sessions/" + session: "GET", "/v1/sessions/" + session + "/ticket": "POST",
	} {
		g := newRig(t, func(c *Config) { c.Limits.Requests = Rate{PerSecond: 0.01, Burst: 1} })
		var body any
		if path == "/v1/probes" {
			body = `{"rtt_ms":{}}`
		}
		if res, _ := g.call(method, path, body); res.StatusCode == 429 {
			t.Errorf("%s: the first is refused", path)
		}
		g.refused(wire.ProblemRate, method, path, body)
		if res, _ := g.call("GET", "/v1/beacon", nil); res.StatusCode != 204 {
			t.Error("the beacon is limited")
		}
	}
	if RequestsOf(DefaultLaunches).Burst <= DefaultLaunches.Burst {
		t.Error("requests are limited like launches")
	}
}

// TestForwardedForNeedsATrustedProxy checks that nobody chooses the address that they
// are counted by.
func TestForwardedForNeedsATrustedProxy(t *testing.T) {
	for name, c := range map[string]struct {
		proxies []netip.Prefix
		last    string
	}{
		"no proxy":        {nil, "429"},
		"another network": {[]netip.Prefix{netip.MustParsePrefix("10.0.0.0/8")}, "429"},
		"the proxy":       {[]netip.Prefix{netip.MustParsePrefix("127.0.0.1/32")}, "201"},
	} {
		g := newRig(t, func(cfg *Config) {
			cfg.Limits.Launches, cfg.TrustedProxies = Rate{PerSecond: 0.01, Burst: 1}, c.proxies
		})
		last := ""
		for i := range 2 {
			res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "X-Forwarded-For", fmt.Sprintf("198.51.%d.1", i))
			last = strconv.Itoa(res.StatusCode)
		}
		if last != c.last {
			t.Errorf("%s: another X-Forwarded-For gives %s, want %s", name, last, c.last)
		}
		// A client may write a part of the header itself; the proxy's part comes last.
		if c.proxies != nil {
			var spoofed string
			for range 2 {
				res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "X-Forwarded-For", "192.0.2.7, 203.0.113.99")
				spoofed = strconv.Itoa(res.StatusCode)
			}
			if spoofed != "429" {
				t.Errorf("%s: the same caller behind another first entry: %s", name, spoofed)
			}
		}
	}
}

func TestLimiterFillsAgainAndStaysSmall(t *testing.T) {
	now := time.Unix(1000, 0)
	l := newLimiter("launch", Rate{PerSecond: 2, Burst: 1}, func(string, string) {})
	l.now = func() time.Time { return now }
	if wait, _ := l.takeFor("192.0.2.1"); wait != 0 {
		t.Fatalf("the first waits %s", wait)
	}
	if wait, network := l.takeFor("192.0.2.1"); wait != 500*time.Millisecond || network != "near" {
		t.Errorf("the second waits %s, %s", wait, network)
	}
	now = now.Add(500 * time.Millisecond)
	if wait, _ := l.takeFor("192.0.2.1"); wait != 0 {
		t.Errorf("after half a second it waits %s", wait)
	}
	// An attacker with many networks, and one that is used all the while.
	for i := range 4 * maxBuckets {
		l.takeFor(fmt.Sprintf("2001:db8:%x:%x::1", i>>8, i&0xff<<8))
		if i%1000 == 0 {
			l.takeFor("192.0.2.1")
		}
	}
	for name, b := range map[string]buckets[netip.Prefix]{"near": l.near, "wide": l.wide} {
		if n := len(b.young) + len(b.old); n > 2*maxBuckets {
			t.Errorf("%s: %d buckets", name, n)
		}
	}
	if wait, _ := l.takeFor("192.0.2.1"); wait == 0 {
		t.Error("other networks refilled a bucket in use")
	}
	if a, b := networksOf("::ffff:192.0.2.1"), networksOf("192.0.2.1"); a != b {
		t.Errorf("%s and %s are one address", a, b)
	}
	if networksOf("nonsense") != networksOf("") {
		t.Error("unreadable addresses have networks of their own")
	}
}

func networksOf(address string) string {
	near, wide := networks(address)
	return near.String() + " " + wide.String()
}

// TestLaunchTokensCountBySubject checks that a customer's launches do not take from their
// network's bucket, and that a token that does not hold does.
func TestLaunchTokensCountBySubject(t *testing.T) {
	g := newRig(t, func(c *Config) {
		c.Limits = Limits{Launches: Rate{PerSecond: 0.01, Burst: 2}, Requests: Rate{PerSecond: 0.01, Burst: 20}}
	})
	shop := g.customer("chess")
	of := func(subject string) string { return shop.token(func(l *ticket.Launch) { l.Subject = subject }) }
	ada, bob, nobody := of("ada"), of("bob"), of("")
	var got []int
	for _, token := range []string{ada, ada, ada, bob, nobody, nobody, nobody, "Bearer forged", "Bearer forged", "Bearer forged", nobody} {
		res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "Authorization", token)
		got = append(got, res.StatusCode)
	}
	if want := "[201 201 429 201 201 201 201 401 401 429 201]"; fmt.Sprint(got) != want {
		t.Errorf("%v, want %s", got, want)
	}
	if res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`); res.StatusCode != 429 {
		t.Errorf("forged tokens took nothing of the network: %s", res.Status)
	}
	for range 20 {
		g.call("POST", "/v1/sessions", `{"app":"chess"}`, "Authorization", "Bearer forged")
	}
	if text := g.metrics(); !strings.Contains(text, `kind="request",network="near"`) || !strings.Contains(text, `network="subject"`) {
		t.Error("checking tokens is not bounded")
	}
}

// TestTicketHasTheNetwork checks what brains count anonymous launches by.
func TestTicketHasTheNetwork(t *testing.T) {
	g := newRig(t, behindProxy(Limits{}))
	shop := g.customer("chess")
	network := func(from string, header ...string) string {
		t.Helper()
		out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"chess"}`, append(header, "X-Forwarded-For", from)...)
		claims, err := g.router.cfg.Verifier.Verify(out.Ticket)
		if err != nil {
			t.Fatal(err)
		}
		return claims.Network
	}
	a := network("198.51.100.1")
	if len(a) != 32 || network("198.51.100.200") != a || network("198.51.101.1") == a {
		t.Error("a network is not a /24")
	}
	if six := network("2001:db8:1:2::1"); network("2001:db8:1:3::1") != six || network("2001:db8:2::1") == six {
		t.Error("a network of IPv6 is not a /48")
	}
	if n := network("198.51.100.1", "Authorization", shop.token(nil)); n != "" {
		t.Errorf("a launch with a token has the network %s", n)
	}
	if testkit.Signer(t).HashNetwork(netip.MustParsePrefix("198.51.100.0/24")) == a {
		t.Error("the hash has no salt")
	}
}
