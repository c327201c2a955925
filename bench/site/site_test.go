package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSmall runs the smallest site, so that the benchmark does not rot: two brains, a router,
// five nodes with 80 seats, and 40 people.
func TestSmall(t *testing.T) {
	testkit.Tool(t, "consul")
	before := goleak.IgnoreCurrent()
	bin := t.TempDir()
	testkit.BuildAll(t, bin, "nearcast")
	ctx := testkit.Context(t, 2*time.Minute)

	s, err := open(ctx, filepath.Join(bin, "nearcast"), plan{brains: 2, routers: 1, apps: 2, seats: 80, dead: 40, lease: 5 * time.Second, start: 50 * time.Millisecond})
	testkit.Must(t, err)
	t.Cleanup(func() { testkit.NoLeaks(t, before) })
	t.Cleanup(s.close)

	// A brain learns of a change from the node's feed.
	session, _ := s.seats.toggle(s.seats.all[7])
	testkit.Retry(ctx, t, "a brain knows the session", func() error { _, err := s.session(ctx, s.brains[1], session); return err })
	s.seats.toggle(s.seats.all[7])

	// People come through the router and get seats, each another one.
	stay, leave := context.WithCancel(ctx)
	defer leave()
	people := s.gather(stay, 40, 100, func(i int) *person {
		p := s.person(appName(i % 2))
		p.play, p.stay, p.routed = true, true, true
		return p
	})
	testkit.UntilSeen(t, "all have seats", func() (any, bool) {
		all := views(people)
		return reason(all), count(all, stateGranted) == len(people)
	})
	testkit.Until(t, "their seats stream", func() bool { return s.seats.inState(wire.SeatStreaming) == len(people) })

	// One leaves. Their seat ends, and another one is started.
	people[0].goodbye(ctx)
	testkit.Until(t, "the session has ended", func() bool { return people[0].view().state == stateEnded })
	testkit.Until(t, "the seat is replaced", func() bool { return s.seats.inState(wire.SeatIdle) == 41 })

	// A brain dies. Its people come back at the other, and keep their seats.
	seats := map[string]string{}
	for _, p := range people[1:] {
		p.lose()
		seats[p.view().session] = p.view().seat
	}
	victim := s.brains[0]
	victim.kill()
	testkit.UntilSeen(t, "all are back", func() (any, bool) {
		var there []*person
		for _, p := range people[1:] {
			if p.view().brain == victim.url {
				there = append(there, p)
			}
		}
		return len(there), away(there) == 0
	})
	for _, p := range people[1:] {
		if v := p.view(); v.seat != seats[v.session] || v.grants != 1 {
			t.Errorf("%s had seat %s, and has %s after %d grants", v.session, seats[v.session], v.seat, v.grants)
		}
	}
	if doubles := s.seats.doubles(); len(doubles) > 0 {
		t.Error(doubles)
	}
}

// TestDoubleClaim checks that a session with two seats is seen, and that one whose first
// brain never got the answer is not taken for that.
func TestDoubleClaim(t *testing.T) {
	one, other := &seat{session: "s"}, &seat{session: "s", address: "b"}
	f := &seats{holds: map[string]*seat{}}
	f.hold("s", one)
	f.judge("s", one, other)
	if len(f.doubles()) > 0 {
		t.Error("an answer that was lost counts as a double claim")
	}
	one.attached, other.attached = true, true
	f.judge("s", one, other)
	if len(f.doubles()) != 1 {
		t.Error("a session with two seats is not seen")
	}
}

func TestOvertaken(t *testing.T) {
	at := func(ms int) time.Time { return time.UnixMilli(1_000_000 + int64(ms)) }
	person := func(n, asked, heard, granted int) seen {
		s := seen{n: n, asked: at(asked), heard: at(heard), state: stateWaiting}
		if granted > 0 {
			s.granted, s.state = at(granted), stateGranted
		}
		return s
	}
	of := func(app string, s seen) seen {
		s.app = app
		return s
	}
	for name, c := range map[string]struct {
		people []seen
		want   int
		worst  time.Duration
	}{
		"in order":                       {[]seen{person(1, 0, 10, 5000), person(2, 1000, 1010, 9000)}, 0, 0},
		"the second is served first":     {[]seen{person(1, 0, 10, 9000), person(2, 1000, 1010, 5000)}, 1, 990 * time.Millisecond},
		"the first is not served at all": {[]seen{person(1, 0, 10, 0), person(2, 1000, 1010, 5000)}, 1, 990 * time.Millisecond},
		"they came together":             {[]seen{person(1, 0, 10, 9000), person(2, 100, 110, 5000)}, 0, 0},
		"each app has a queue":           {[]seen{person(1, 0, 10, 9000), of("other", person(2, 1000, 1010, 5000))}, 0, 0},
		"both are served at once":        {[]seen{person(1, 0, 10, 5400), person(2, 1000, 1010, 5000)}, 0, 0},
		"the first has left":             {[]seen{{n: 1, asked: at(0), heard: at(10), state: stateEnded}, person(2, 1000, 1010, 5000)}, 0, 0},
	} {
		if n, worst := overtaken(c.people, time.Time{}); n != c.want || worst != c.worst {
			t.Errorf("%s: %d overtaken, worst %s; want %d, %s", name, n, worst, c.want, c.worst)
		}
	}
}

// Seats that were given before a moment are not looked at.
func TestOvertakenSince(t *testing.T) {
	at := func(s int64) time.Time { return time.Unix(1000+s, 0) }
	people := []seen{
		{n: 1, asked: at(0), heard: at(0), granted: at(9), state: stateGranted},
		{n: 2, asked: at(2), heard: at(2), granted: at(5), state: stateGranted},
	}
	for since, want := range map[int64]int{0: 1, 5: 1, 6: 0} {
		if n, _ := overtaken(people, at(since)); n != want {
			t.Errorf("since second %d: %d overtaken, want %d", since, n, want)
		}
	}
}

// TestAims checks that a line says whether its aim is reached.
func TestAims(t *testing.T) {
	var out bytes.Buffer
	b := &bench{sheet: newSheet(&out)}
	testkit.Must(t, b.atMost("claims", "latency_p99", "ms", 101, 100, labels{"apps": 20}))
	testkit.Must(t, b.atLeast("claims", "granted", "1/s", 1000, 1000, nil))
	var lines []map[string]any
	for dec := json.NewDecoder(&out); ; {
		var line map[string]any
		if dec.Decode(&line) == io.EOF {
			break
		}
		lines = append(lines, line)
	}
	if len(lines) != 2 || lines[0]["reached"] != false || lines[0]["aim"] != "≤ 100" || lines[0]["apps"] != 20.0 ||
		lines[1]["reached"] != true || len(b.missed) != 1 {
		t.Errorf("%v, missed %v", lines, b.missed)
	}
}

func TestParse(t *testing.T) {
	o, err := parse([]string{"-only", "claims,launchday", "-quick", "-brains", "2"}, t.Output())
	if err != nil || strings.Join(o.only, " ") != "claims launchday" || o.seats != 1000 || o.brains != 2 {
		t.Errorf("%+v, %v", o, err)
	}
	for _, args := range []string{"-only nothing", "-seats 7", "-brains 1", "claims"} {
		if _, err := parse(strings.Fields(args), io.Discard); err == nil {
			t.Errorf("%s passes", args)
		}
	}
}
