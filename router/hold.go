package router

import (
	"net/netip"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
)

// A refusal costs a router about as much as another answer. To a network that goes on far
// above its rate, refusals come late: a caller who sends the next request when they have
// the answer to the last one is slowed down, and costs next to nothing while they wait.
// Others of the network who are within their limit get no refusal, and so are not held.
const (
	// holdFor is how long a refusal is held. It is no longer than any Retry-After.
	holdFor = time.Second
	// Held requests cost memory, about 20 kB each. Beyond these, refusals come at once.
	maxHeld     = 512 // of each kind
	maxHeldWide = 256 // of a /24 or /48
)

// crowd holds refusals.
type crowd struct {
	pause time.Duration

	mu      sync.Mutex
	refused buckets[netip.Prefix] // refusals of a wide network that come at once
	held    map[netip.Prefix]int
	all     int
}

// newCrowd answers so many refusals of a wide network at once as it may send requests.
func newCrowd(of Rate) crowd {
	return crowd{pause: holdFor, held: map[netip.Prefix]int{},
		refused: buckets[netip.Prefix]{limit: Rate{wideTimes * of.PerSecond, wideTimes * of.Burst}}}
}

// hold says whether a refusal is to be held, and gives what ends that.
func (c *crowd) hold(wide netip.Prefix) (release func()) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if c.refused.of(wide).Allow() || c.all >= maxHeld || c.held[wide] >= maxHeldWide {
		return nil
	}
	c.all++
	c.held[wide]++
	return func() {
		c.mu.Lock()
		defer c.mu.Unlock()
		c.all--
		if c.held[wide]--; c.held[wide] == 0 {
			delete(c.held, wide)
		}
	}
}

// rested is how long a request was held: no part of the time that the router took.
const rested = "rested"

// rest waits, unless the caller goes away.
func rest(c echo.Context, pause time.Duration) {
	begin := time.Now()
	timer := time.NewTimer(pause)
	defer timer.Stop()
	select {
	case <-timer.C:
	case <-c.Request().Context().Done():
	}
	c.Set(rested, time.Since(begin))
}
