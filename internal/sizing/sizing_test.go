package sizing

import (
	"math"
	"math/big"
	"math/rand/v2"
	"os"
	"strings"
	"testing"
	"time"
)

// Values that others have published, and those of the formula itself in exact fractions.
func TestErlangC(t *testing.T) {
	for _, c := range []struct {
		seats int
		load  float64
		want  float64
		from  string
	}{
		{1, .5, .5, "M/M/1: the load"},
		{2, 1, 1. / 3, "M/M/2: a²/(2+a)"},
		{3, 2, 4. / 9, "by hand"},
		{55, 48, .239, "T. Angus, An Introduction to Erlang B and Erlang C, and mitan.co.uk: 360 calls in half an hour of 4 min, 55 agents"},
		{11, 10, .682, "callcentrehelper.com, Erlang C with an easy worked example: 10 erlangs"},
		{14, 10, .174, "the same"},
		{10, 10, 1, "the queue never ends"},
		{5, 0, 0, "nobody comes"},
	} {
		if got := ErlangC(c.seats, c.load); math.Abs(got-c.want) > .0005 {
			t.Errorf("C(%d, %v) = %.4f, want %.4f (%s)", c.seats, c.load, got, c.want, c.from)
		}
	}
	for _, c := range []int{1, 2, 7, 40, 120} {
		for _, percent := range []int64{1, 35, 80, 99} {
			load := big.NewRat(int64(c)*percent, 100)
			want, _ := exactly(c, load).Float64()
			a, _ := load.Float64()
			if got := ErlangC(c, a); math.Abs(got-want) > 1e-9 {
				t.Errorf("C(%d, %v) = %v, want %v", c, a, got, want)
			}
		}
	}
}

// exactly is Erlang C as it is defined: aᶜ/c! · c/(c-a) of the sum of aᵏ/k! and that.
func exactly(c int, a *big.Rat) *big.Rat {
	term, sum := big.NewRat(1, 1), new(big.Rat)
	for k := range c {
		sum.Add(sum, term)
		term = new(big.Rat).Mul(term, new(big.Rat).Quo(a, big.NewRat(int64(k+1), 1)))
	}
	seats := big.NewRat(int64(c), 1)
	top := new(big.Rat).Mul(term, new(big.Rat).Quo(seats, new(big.Rat).Sub(seats, a)))
	return new(big.Rat).Quo(top, sum.Add(sum, top))
}

func TestSeats(t *testing.T) {
	for _, load := range []float64{.001, .3, 1, 9.7, 48, 400, 12_000} {
		for _, wait := range []float64{.5, .1, .01, .0001} {
			c := Seats(load, wait)
			if ErlangC(c, load) > wait || float64(c) <= load {
				t.Errorf("%d seats for %v: %v wait, at most %v may", c, load, ErlangC(c, load), wait)
			}
			if c > 1 && ErlangC(c-1, load) <= wait {
				t.Errorf("%d seats for %v at %v: one less is enough", c, load, wait)
			}
		}
	}
	if Seats(0, .01) != 0 || Seats(-1, .01) != 0 || Seats(math.NaN(), .01) != 0 {
		t.Error("seats for nobody")
	}
}

// A Poisson process is played: as many people find no idle seat as may.
func TestWarm(t *testing.T) {
	for _, c := range []struct{ rate, start, wait float64 }{{.01, 8, .01}, {.2, 10, .05}, {1, 30, .01}, {5, 60, .2}} {
		k := Warm(c.rate, c.start, c.wait)
		share := func(k int) float64 {
			r, now, waited, ready := rand.New(rand.NewPCG(1, 2)), 0.0, 0, []float64{}
			const people = 200_000
			for range people {
				now += r.ExpFloat64() / c.rate
				for len(ready) > 0 && ready[0] <= now {
					ready = ready[1:]
				}
				if len(ready) >= k {
					waited++
				}
				ready = append(ready, now+c.start) // the seat that replaces the taken one
			}
			return float64(waited) / people
		}
		if got := share(k); got > c.wait*1.2+.0005 {
			t.Errorf("%+v: %d warm seats, and %.4f wait", c, k, got)
		}
		if k > 0 {
			if got := share(k - 1); got < c.wait*.8 {
				t.Errorf("%+v: %d warm seats, and with one less only %.4f wait", c, k, got)
			}
		}
	}
	if Warm(0, 10, .01) != 0 || Warm(1, 0, .01) != 0 {
		t.Error("warm seats for nobody")
	}
}

func minutes(n float64) time.Duration { return time.Duration(n * float64(time.Minute)) }

// came is an app to which that many people came in two and in ten minutes.
func came(busy, two, ten int) App {
	return App{Busy: busy, Arrivals: []Window{{minutes(2), two}, {minutes(10), ten}}, Played: 32 * minutes(20), Ended: 32}
}

func TestNodes(t *testing.T) {
	monday := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	evening, err := ParseSchedule("0 18 * * 1-5 4h 60 Europe/Berlin")
	if err != nil {
		t.Fatal(err)
	}
	pool := func(change func(*Pool)) Pool {
		p := Pool{SeatsPerNode: 8, Max: 20, Ready: 4 * time.Minute, Wait: .01}
		change(&p)
		return p
	}
	same := pool(func(*Pool) {})
	for _, c := range []struct {
		name     string
		pool     Pool
		apps     []App
		now      int
		at       time.Duration // after Monday's midnight, UTC
		from, to int           // nodes
		says     string
	}{
		{"nobody, nothing", same, nil, 0, 0, 0, 0, "0 people"},
		{"an app that nobody plays", same, []App{came(0, 0, 0)}, 0, 0, 0, 0, ""},
		{"the first person, from zero nodes", same, []App{{Queued: 1, Arrivals: []Window{{minutes(2), 1}, {minutes(10), 1}}}}, 0, 0, 1, 1, "1 person now"},
		{"a warm seat needs a node", same, []App{{Warm: 1}}, 0, 0, 1, 1, "1 warm"},
		{"many warm seats that nobody comes for", same, []App{{Warm: 5}, {Warm: 5}, {Warm: 5}}, 0, 0, 2, 2, "15 warm"},
		{"a day like the one before", same, []App{came(40, 4, 20)}, 6, 0, 7, 8, "40 people now"},
		{"a rise is seen in two minutes", same, []App{came(0, 60, 60)}, 1, 0, 12, 19, ""},
		{"a rise that is likely one", same, []App{came(20, 14, 30)}, 4, 0, 7, 7, ""},
		{"a few more by chance are no rise", same, []App{came(40, 9, 40)}, 8, 0, 8, 8, ""},
		{"nobody comes any more, and people still play", same, []App{came(64, 0, 0)}, 12, 0, 8, 8, ""},
		{"at most", same, []App{came(400, 100, 500)}, 4, 0, 20, 20, "0 to 20 are allowed"},
		{"at least", pool(func(p *Pool) { p.Min = 2 }), nil, 0, 0, 2, 2, "2 to 20"},
		{"people above the maximum stay", pool(func(p *Pool) { p.Max = 3 }), []App{came(80, 0, 0)}, 10, 0, 10, 10, ""},
		{"before the window", pool(func(p *Pool) { p.Schedule = evening }), nil, 0, minutes(16*60 + 55), 0, 0, ""},
		{"nodes are there when the window opens", pool(func(p *Pool) { p.Schedule = evening }), nil, 0, minutes(16*60 + 57), 8, 8, "60 seats at least"},
		{"in the window", pool(func(p *Pool) { p.Schedule = evening }), nil, 8, minutes(20 * 60), 8, 8, ""},
		{"after the window", pool(func(p *Pool) { p.Schedule = evening }), nil, 8, minutes(21*60 + 1), 0, 0, ""},
		{"on Sunday", pool(func(p *Pool) { p.Schedule = evening }), nil, 8, minutes(-4 * 60), 0, 0, ""},
		{"blocked seats are named", same, []App{{Queued: 1, Blocked: 1}}, 0, 0, 1, 1, "no node takes 1 seat"},
	} {
		d := Nodes(c.pool, c.apps, c.now, monday.Add(c.at))
		if d.Nodes < c.from || d.Nodes > c.to || !strings.Contains(d.Reason, c.says) {
			t.Errorf("%s: %d nodes, want %d to %d, and %q in: %s", c.name, d.Nodes, c.from, c.to, c.says, d.Reason)
		}
	}
}

// Whatever is measured: enough for who plays, within the limits, more for more people.
func TestNodesProperties(t *testing.T) {
	r := rand.New(rand.NewPCG(3, 4))
	for range 20_000 {
		p := Pool{SeatsPerNode: 1 + r.IntN(20), Min: r.IntN(3), Max: 3 + r.IntN(100), Ready: time.Duration(r.IntN(900)) * time.Second, Wait: .001 + .5*r.Float64()}
		var apps []App
		busy := 0
		for range r.IntN(4) {
			two := r.IntN(200)
			a := came(r.IntN(300), two, two+r.IntN(1000))
			a.Queued, a.Warm, a.Ended = r.IntN(20), r.IntN(5), 33*r.Float64()
			a.Played = time.Duration(a.Ended*float64(r.IntN(7200))) * time.Second
			apps, busy = append(apps, a), busy+a.Busy
		}
		now := r.IntN(80)
		d := Nodes(p, apps, now, time.Unix(0, 0))
		needed := (busy + p.SeatsPerNode - 1) / p.SeatsPerNode
		switch {
		case d.Nodes < min(now, needed):
			t.Fatalf("%d of %d nodes, and %d are busy: %+v %+v", d.Nodes, now, needed, p, apps)
		case d.Nodes < p.Min || d.Nodes > max(p.Max, min(now, needed)):
			t.Fatalf("%d nodes: %+v", d.Nodes, p)
		case d.Seats < busy:
			t.Fatalf("%d seats for %d people", d.Seats, busy)
		case d.Reason == "":
			t.Fatal("no reason")
		}
		if len(apps) > 0 {
			apps[0].Busy += 50
			if more := Nodes(p, apps, now, time.Unix(0, 0)); more.Nodes < d.Nodes {
				t.Fatalf("%d nodes with 50 people more, before %d: %+v %+v", more.Nodes, d.Nodes, p, apps)
			}
			apps[0].Busy -= 50
			strict := p
			strict.Wait /= 10
			if more := Nodes(strict, apps, now, time.Unix(0, 0)); more.Nodes < d.Nodes {
				t.Fatalf("%d nodes where fewer may wait, before %d", more.Nodes, d.Nodes)
			}
		}
	}
}

func TestSchedule(t *testing.T) {
	for text, want := range map[string]string{
		"": "", " ; ": "",
		"30 16 * * 1-5 6h30m 120 Europe/Berlin; 0 10 * * 6,0 14h 150": "",
		"30 16 * * 1-5 6h30m":                  "five fields of cron",
		"61 16 * * 1-5 1h 5":                   "read when it opens",
		"0 16 * * * soon 5":                    "must be a duration",
		"0 16 * * * 400h 5":                    "at most 168h",
		"0 16 * * * 1h -5":                     "whole number",
		"0 16 * * * 1h 5 Mars/Olympus":         "not known here",
		strings.Repeat("0 0 * * * 1h 1;", 101): "at most 100 windows",
	} {
		_, err := ParseSchedule(text)
		if (err == nil) != (want == "") || err != nil && !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %v, want %q", text, err, want)
		}
	}
}

func TestCheck(t *testing.T) {
	good := Pool{SeatsPerNode: 8, Wait: .01}
	if err := good.Check(); err != nil {
		t.Error(err)
	}
	for _, p := range []Pool{{Wait: .01}, {SeatsPerNode: 1}, {SeatsPerNode: 1, Wait: 1}, {SeatsPerNode: 1, Wait: math.NaN()},
		{SeatsPerNode: 1, Wait: .1, Ready: -1}, {SeatsPerNode: 1, Wait: .1, Min: 3, Max: 2}} {
		if p.Check() == nil {
			t.Errorf("%+v is taken", p)
		}
	}
}

func TestHold(t *testing.T) {
	h := Hold{For: 5 * time.Minute}
	for i, c := range []struct {
		at               float64 // minutes
		now, needed, get int
	}{
		{0, 5, 2, 5},   // nothing is known of the minutes before
		{1, 5, 8, 8},   // more at once
		{3, 8, 3, 8},   // and not less
		{5.5, 8, 2, 8}, // 8 were needed 4.5 minutes ago
		{6.5, 8, 2, 3}, // 3 were needed 3.5 minutes ago
		{9, 3, 2, 2},
		{30, 2, 0, 0},
	} {
		if got := h.Nodes(c.now, c.needed, time.Unix(0, 0).Add(minutes(c.at))); got != c.get {
			t.Errorf("%d: at %v min with %d nodes of which %d are needed: %d, want %d", i, c.at, c.now, c.needed, got, c.get)
		}
	}
}

// A seat that no node of the pool can take: one node more is tried, once, and given back.
func TestSizerOfHopelessSeat(t *testing.T) {
	p := Pool{SeatsPerNode: 8, Max: 20, Ready: 4 * time.Minute, Wait: .01}
	s := Sizer{Hold: Hold{For: 5 * time.Minute}}
	nodes, grown, last, reason := 1, 0, time.Duration(0), ""
	clock := time.Duration(0)
	// run goes on for a time. blocked says how many seats find no node, and used how many nodes have
	// seats: those are not removed.
	run := func(lasts time.Duration, blocked, used func() int) {
		for end := clock + lasts; clock < end; clock += 15 * time.Second {
			d := s.Decide(p, []App{{Busy: 3, Queued: 1, Blocked: blocked()}}, nodes, time.Unix(1_800_000_000, 0).Add(clock))
			next := max(d.Nodes, used())
			if next > nodes {
				grown++
			}
			if next != nodes {
				last = clock
			}
			nodes, reason = next, d.Reason
		}
	}
	run(6*time.Hour, func() int { return 1 }, func() int { return 1 })
	if grown != 1 || nodes != 1 || last > time.Hour || !strings.Contains(reason, "one node more did not help") {
		t.Errorf("%d nodes, %d more were given, the last change after %s: %s", nodes, grown, last, reason)
	}
	// Another seat finds none, and one node more takes it: that is seen though the first never is.
	run(2*time.Hour, func() int { return max(1, 3-nodes) }, func() int { return nodes })
	if grown != 2 || nodes != 2 {
		t.Errorf("%d nodes, %d more were given in all, want 2: %s", nodes, grown, reason)
	}
	// Nodes carry two seats: it goes on until all have one.
	s, nodes = Sizer{Hold: Hold{For: 5 * time.Minute}}, 1
	run(2*time.Hour, func() int { return max(0, 8-2*nodes) }, func() int { return nodes })
	if nodes != 4 {
		t.Errorf("%d nodes, and 4 carry all seats: %s", nodes, reason)
	}
}

// A node more that the cloud did not give is asked for again, and no seat is hopeless for it.
func TestSizerAsksAgain(t *testing.T) {
	p := Pool{SeatsPerNode: 8, Ready: time.Minute, Wait: .01}
	s, at := Sizer{}, time.Unix(1_800_000_000, 0)
	for look := range 20 {
		d := s.Decide(p, []App{{Busy: 3, Queued: 1, Blocked: 1}}, 1, at)
		if want := 1 + min(1, look/8); d.Nodes != want {
			t.Fatalf("%d nodes after %d looks, want %d: %s", d.Nodes, look, want, d.Reason)
		}
		at = at.Add(15 * time.Second)
	}
}

// One person more in any window never makes a pool smaller, nor its warm seats fewer.
func TestMorePeople(t *testing.T) {
	p := Pool{SeatsPerNode: 1, Ready: 4 * time.Minute, Wait: .01}
	for ten := range 80 {
		before, warm := 0, 0
		for two := range ten + 1 {
			app := came(20, two, ten)
			seats := Nodes(p, []App{app, came(5, 1, 5)}, 0, time.Unix(0, 0)).Seats
			w := WarmFor(app.Arrivals, 20*time.Second, .01)
			if seats < before || w < warm {
				t.Fatalf("%d came in two minutes and %d in ten: %d seats and %d warm; one less in two minutes: %d and %d", two, ten, seats, w, before, warm)
			}
			before, warm = seats, w
			if more := Nodes(p, []App{came(20, two, ten+1), came(5, 1, 5)}, 0, time.Unix(0, 0)).Seats; more < seats {
				t.Fatalf("%d came in two minutes and %d in ten: %d seats; one more in ten: %d", two, ten, seats, more)
			}
		}
	}
}

// One person at a young brain needs few seats.
func TestYoungBrain(t *testing.T) {
	for _, c := range []struct {
		over     time.Duration
		count    int
		from, to int // seats
	}{
		{time.Second, 1, 6, 9},
		{time.Minute, 1, 6, 9},
		{5 * time.Minute, 1, 6, 9},
		{10 * time.Minute, 1, 5, 7},
		{time.Minute, 20, 50, 90}, // a launch is one
	} {
		app := App{Busy: 1, Arrivals: OldEnough([]Window{{c.over, c.count}, {c.over, c.count}})}
		d := Nodes(Pool{SeatsPerNode: 8, Ready: 4 * time.Minute, Wait: .01}, []App{app}, 1, time.Unix(0, 0))
		if d.Seats < c.from || d.Seats > c.to {
			t.Errorf("%d came in %s: %d seats, want %d to %d: %s", c.count, c.over, d.Seats, c.from, c.to, d.Reason)
		}
	}
}

// The example of docs/CAPACITY.md is what the formulas say.
func TestReason(t *testing.T) {
	d := Nodes(Pool{SeatsPerNode: 8, Max: 20, Ready: 4 * time.Minute, Wait: .01}, []App{came(14, 3, 12)}, 2, time.Unix(0, 0))
	text, err := os.ReadFile("../../docs/CAPACITY.md")
	if err != nil || !strings.Contains(string(text), "\n"+d.Reason+"\n") {
		t.Errorf("docs/CAPACITY.md does not say (%v): %s", err, d.Reason)
	}
	one := Nodes(Pool{SeatsPerNode: 1, Max: 1, Wait: .01}, []App{{Queued: 1, Blocked: 1}}, 0, time.Unix(0, 0))
	if want := "1 node of 1 seat: 1 person now, 0.0 come a minute, 1 are expected in 0s: 1 seat, so that at most 1 % wait; no node takes 1 seat"; one.Reason != want {
		t.Errorf("got  %s\nwant %s", one.Reason, want)
	}
}
