package router

import (
	"errors"
	"math"
	"net/http"
	"net/netip"
	"strconv"
	"sync"
	"time"

	"github.com/labstack/echo/v4"
	"golang.org/x/time/rate"

	"github.com/nearcast/nearcast/internal/guard"
	"github.com/nearcast/nearcast/internal/wire"
)

// Rate is a token bucket: so many a second in the long run, and so many at once. A
// PerSecond of 0 is no limit.
type Rate struct {
	PerSecond float64
	Burst     int
}

// Limits bound what the callers of one network may ask.
//
// A network is counted twice. One address of IPv4, or one /64 of IPv6, is a home, an
// office, or a mobile network's address for hundreds of people: that is near, and it
// has the rate as it stands. A /24, or a /48 of IPv6, is the most that a provider
// gives a customer without questions: that is wide, with wideTimes the rate, so that
// changing the address gains an attacker little, and the many homes in it still fit.
type Limits struct {
	// Launches without a launch token or a login. A subject of launch tokens has the same limit,
	// wherever it launches from. So have the logins of a network that come back from the provider.
	Launches Rate
	// Requests that cost something and are no launches: lists, probes, renewals of
	// tickets, reading and ending sessions.
	Requests Rate
}

// DefaultLaunches lets a class of 60 people behind one address press Play at once. A
// customer whose people come in larger groups launches with tokens.
var DefaultLaunches = Rate{PerSecond: 5, Burst: 60}

// RequestsOf is a limit for requests that fits a limit for launches: a page asks up to
// ten times before a launch, and twice a minute while its person waits.
func RequestsOf(launches Rate) Rate {
	return Rate{PerSecond: 20 * launches.PerSecond, Burst: 20 * launches.Burst}
}

const (
	wideTimes = 4
	// maxBuckets bounds the memory of a limiter: twice as many buckets of each kind,
	// of 200 bytes. An attacker who has more networks than that is not held by limits
	// for networks, and others' buckets that are dropped are full again.
	maxBuckets = 16 << 10
)

// limiter bounds requests of one kind.
type limiter struct {
	kind    string
	limited func(kind, network string) // counts a refusal
	now     func() time.Time

	mu         sync.Mutex
	near, wide buckets[netip.Prefix]
	crowd      crowd
}

func newLimiter(kind string, of Rate, limited func(kind, network string)) *limiter {
	return &limiter{kind: kind, limited: limited, now: time.Now,
		near:  buckets[netip.Prefix]{limit: of},
		wide:  buckets[netip.Prefix]{limit: Rate{wideTimes * of.PerSecond, wideTimes * of.Burst}},
		crowd: newCrowd(of),
	}
}

// take takes a token for the caller, or says that there is none.
func (l *limiter) take(c echo.Context) error {
	if l.near.limit.PerSecond <= 0 {
		return nil
	}
	wait, network := l.takeFor(c.RealIP())
	if wait <= 0 {
		return nil
	}
	l.limited(l.kind, network)
	_, wide := networks(c.RealIP())
	if release := l.crowd.hold(wide); release != nil {
		rest(c, l.crowd.pause)
		release()
	}
	return tooMany(c, "Your network has sent too many requests.", wait)
}

// takeFor takes a token for an address, or says how long there will be none, and in
// which network.
func (l *limiter) takeFor(address string) (wait time.Duration, network string) {
	near, wide := networks(address)
	l.mu.Lock()
	defer l.mu.Unlock()
	now := l.now()
	of, ofWide := l.near.of(near), l.wide.of(wide)
	if wait := missing(of, now); wait > 0 {
		return wait, "near"
	}
	if wait := missing(ofWide, now); wait > 0 {
		return wait, "wide"
	}
	of.AllowN(now, 1)
	ofWide.AllowN(now, 1)
	return 0, ""
}

// missing is how long a bucket will have no token.
func missing(of *rate.Limiter, now time.Time) time.Duration {
	tokens := of.TokensAt(now)
	if tokens >= 1 {
		return 0
	}
	return max(time.Millisecond, time.Duration((1-tokens)/float64(of.Limit())*float64(time.Second)))
}

// networks are the networks of an address, the near and the wide one. An address that
// cannot be read belongs to the network of all such.
func networks(address string) (near, wide netip.Prefix) {
	a, _ := netip.ParseAddr(address)
	return guard.Networks(a)
}

// buckets are token buckets by key, of which those in use are kept: once maxBuckets
// are young, they become old, and those that were old are dropped. A bucket is young
// again when it is used.
type buckets[K comparable] struct {
	limit      Rate
	young, old map[K]*rate.Limiter
}

func (b *buckets[K]) of(key K) *rate.Limiter {
	if found, ok := b.young[key]; ok {
		return found
	}
	found, ok := b.old[key]
	if !ok {
		found = rate.NewLimiter(rate.Limit(b.limit.PerSecond), max(1, b.limit.Burst))
	}
	if len(b.young) >= maxBuckets || b.young == nil {
		b.young, b.old = map[K]*rate.Limiter{}, b.young
	}
	b.young[key] = found
	return found
}

// limited serves h within the limit of requests.
func (r *Router) limited(h echo.HandlerFunc) echo.HandlerFunc {
	return func(c echo.Context) error {
		if err := r.requests.take(c); err != nil {
			return err
		}
		return h(c)
	}
}

// admitLaunch decides whether a caller may launch now. It comes before everything
// that costs: the body, the ranking, the signature. A launch with a good launch token
// takes from the bucket of its subject, and not from its network's: a customer's server
// may launch for all its people. So does one of a person who has logged in. Checking the token costs too, so a network may have so
// many tokens checked as it may send other requests.
func (r *Router) admitLaunch(c echo.Context) error {
	token, ok := bearer(c.Request())
	if !ok {
		return r.launches.take(c)
	}
	if err := r.requests.take(c); err != nil {
		return err
	}
	launch, err := r.verifyLauncher(token)
	switch {
	case err != nil: // the caller learns why when the app is known
		return r.launches.take(c)
	case launch.subject() == "":
		return nil
	}
	return r.subjects.take(c, launch.subject())
}

// callers bounds the requests of each caller that is known by a name: the launches of a subject, and
// the lists of an API key.
type callers struct {
	kind, what string // of the metric
	why        string // what a caller reads who has too many
	limited    func(kind, network string)
	mu         sync.Mutex
	buckets    buckets[string]
}

// listRate is that of the lists of one API key: each has all brains look at all sessions.
var listRate = Rate{PerSecond: 5, Burst: 20}

func (s *callers) take(c echo.Context, name string) error {
	if s.buckets.limit.PerSecond <= 0 {
		return nil
	}
	s.mu.Lock()
	of := s.buckets.of(name)
	wait := missing(of, time.Now())
	if wait <= 0 {
		of.Allow()
	}
	s.mu.Unlock()
	if wait <= 0 {
		return nil
	}
	s.limited(s.kind, s.what)
	return tooMany(c, s.why, wait)
}

// tooMany is the problem of a caller for whom there will be no token for a while.
func tooMany(c echo.Context, why string, wait time.Duration) error {
	seconds := strconv.Itoa(int(math.Ceil(wait.Seconds())))
	c.Response().Header().Set(echo.HeaderRetryAfter, seconds)
	return problem(wire.ProblemRate, "", "%s Try again in %s s.", why, seconds)
}

func (l Limits) check() error {
	valid := func(r Rate) bool { return r.PerSecond == 0 || r.PerSecond > 0 && r.Burst >= 1 }
	// In this order: the limit of requests follows from that of launches.
	switch {
	case !valid(l.Launches):
		return errors.New("the limit of launches needs a rate of 0 or more and a burst of 1 or more")
	case !valid(l.Requests):
		return errors.New("the limit of requests needs a rate of 0 or more and a burst of 1 or more")
	}
	return nil
}

// extractor finds the address of a caller, as brains find it. One that cannot be read
// is empty.
func extractor(trusted guard.Proxies) echo.IPExtractor {
	return func(r *http.Request) string {
		client := trusted.Client(r)
		if !client.IsValid() {
			return ""
		}
		return client.String()
	}
}
