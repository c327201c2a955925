package router

import (
	"fmt"
	"net/http"
	"net/netip"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// A network far above its rate gets its refusals late, with all that refusals have. The
// others, and those of the network who have launches left, are answered at once.
func TestRefusalsOfAFloodAreHeld(t *testing.T) {
	g := newRig(t, behindProxy(Limits{Launches: Rate{PerSecond: 0.01, Burst: 1}}))
	pause := 600 * time.Millisecond
	g.router.launches.crowd.pause = pause
	launch := func(from string) (status int, took time.Duration) {
		begin := time.Now()
		res, _ := g.call("POST", "/v1/sessions", `{"app":"chess"}`, "X-Forwarded-For", from)
		if res.StatusCode == 429 {
			seconds, err := strconv.Atoi(res.Header.Get("Retry-After"))
			if err != nil || seconds < 1 || res.Header.Get("Content-Type") != wire.ProblemType ||
				!strings.HasPrefix(res.Header.Get("Content-Security-Policy"), "default-src 'self'") {
				t.Errorf("a refusal with %v", res.Header)
			}
		}
		return res.StatusCode, time.Since(begin)
	}
	if status, _ := launch("198.51.100.1"); status != 201 {
		t.Fatal(status)
	}
	// As many refusals come at once as the network may send requests.
	for i := range wideTimes {
		if status, _ := launch("198.51.100.1"); status != 429 || g.router.launches.crowd.all != 0 {
			t.Fatalf("refusal %d: %d", i, status)
		}
	}
	for range 2 {
		if status, took := launch("198.51.100.1"); status != 429 || took < pause {
			t.Errorf("a flood gets %d after %v", status, took)
		}
	}
	g.refused(wire.ProblemRate, "POST", "/v1/sessions", `{`, "X-Forwarded-For", "198.51.100.1")
	// Waiting is not the router's work: an alert for slow answers must not be in a visitor's hands.
	if want := fmt.Sprintf("nearcast_router_request_seconds_bucket{route=\"/v1/sessions\",le=\"0.5\"} %d", 1+wideTimes+3); !strings.Contains(g.metrics(), want) {
		t.Errorf("no %s", want)
	}
	for _, from := range []string{"198.51.100.2", "203.0.113.1"} {
		if status, _ := launch(from); status != 201 {
			t.Errorf("%s gets %d", from, status)
		}
	}
}

// What is held is bounded, for each network and in all, and ends with the caller.
func TestHeldRefusalsAreBounded(t *testing.T) {
	c := newCrowd(Rate{PerSecond: 1e-9, Burst: 1})
	network := func(i int) netip.Prefix { return netip.PrefixFrom(netip.AddrFrom4([4]byte{10, 0, byte(i), 0}), 24) }
	held := func(i int) (n int, release []func()) {
		for range maxHeldWide + wideTimes + 10 {
			if r := c.hold(network(i)); r != nil {
				release = append(release, r)
			}
		}
		return len(release), release
	}
	n, first := held(1)
	if n != maxHeldWide {
		t.Errorf("%d of a network are held", n)
	}
	if n, _ := held(2); n != maxHeld-maxHeldWide {
		t.Errorf("%d more of another are held", n)
	}
	if n, _ := held(3); n != 0 {
		t.Errorf("%d more are held", n)
	}
	var all sync.WaitGroup
	for _, release := range first {
		all.Go(release)
	}
	all.Wait()
	if n, _ := held(3); n != maxHeldWide {
		t.Errorf("%d are held when there is room again", n)
	}
	if _, ok := c.held[network(1)]; ok {
		t.Error("a network is remembered that waits for nothing")
	}

	g := newRig(t, func(c *Config) { c.Limits.Launches = Rate{PerSecond: 1e-6, Burst: 1} })
	g.router.launches.crowd.pause = time.Hour
	for range 1 + wideTimes {
		g.call("POST", "/v1/sessions", `{"app":"chess"}`)
	}
	gone := make(chan error, 1)
	go func() {
		res, err := abandoned(g.server.URL + "/v1/sessions")
		if err == nil {
			res.Body.Close()
		}
		gone <- err
	}()
	waiting := func() int {
		g.router.launches.crowd.mu.Lock()
		defer g.router.launches.crowd.mu.Unlock()
		return g.router.launches.crowd.all
	}
	if err := <-gone; err == nil {
		t.Error("the refusal came at once")
	}
	testkit.Until(t, "a caller who went away is held no more", func() bool { return waiting() == 0 })
}

// abandoned sends a launch without a body and goes away after a moment.
func abandoned(url string) (*http.Response, error) {
	client := &http.Client{Timeout: 300 * time.Millisecond}
	return client.Post(url, "application/json", nil)
}
