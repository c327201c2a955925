package main

import (
	"bytes"
	"encoding/json"
	"errors"
	"flag"
	"io"
	"math"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/router/placement/probe"
)

var makeUp = flag.Bool("update", false, "make up the courses of web/test/race.json anew")

const courseFile = "../../web/test/race.json"

// course is a race: what the page was told, and what it made of it. Trips are
// those of a new connection, by site.
type course struct {
	Path    string  `json:"path"`
	Trips   []int   `json:"trips"`
	News    []news  `json:"news"`
	Leader  int     `json:"leader"`
	Decided float64 `json:"decided"`
}

// TestCourses runs the courses that the page's own tests run, too: if either side
// changes the rule, its test fails until the other has followed.
func TestCourses(t *testing.T) {
	if *makeUp {
		writeCourses(t)
	}
	text, err := os.ReadFile(courseFile)
	if err != nil {
		t.Fatal(err)
	}
	dec := json.NewDecoder(bytes.NewReader(text))
	count := 0
	for ; ; count++ {
		var c course
		if err := dec.Decode(&c); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatal(err)
		}
		leader, at := newRace(c.Trips, 0).run(c.News)
		if leader != c.Leader || math.Abs(at-c.Decided) > 1e-6 {
			t.Errorf("course %d (%s): site %d after %v ms, want %d after %v ms", count, c.Path, leader, at, c.Leader, c.Decided)
		}
	}
	if count < 20 {
		t.Errorf("%d courses", count)
	}
}

// writeCourses makes up races of near sites, where the rule has to choose.
func writeCourses(t *testing.T) {
	var out bytes.Buffer
	enc := json.NewEncoder(&out)
	for k := range 36 {
		rnd := seeded(11, uint64(k))
		const sites = 5
		w := &world{sites: make([]int, sites)}
		p := &person{world: w, rnd: rnd}
		near := 5 + rnd.Float64()*60
		for range sites {
			p.true = append(p.true, near*(1+rnd.ExpFloat64()/2))
		}
		ways := []path{overHTTP, overHTTPS, overHTTP2}
		c := course{Path: string(ways[k%3])}
		for i := range sites {
			c.Trips = append(c.Trips, ways[k%3].trips())
			said := p.answers(i, ways[k%3], chromium)
			switch fate := rnd.IntN(12); {
			case fate == 0: // never heard of
				continue
			case fate == 1:
				said = []news{{At: 1 + rnd.Float64()*near, Site: i, Failed: true}}
			case fate == 2: // it dies in between
				said[1] = news{At: said[1].At, Site: i, Failed: true}
			case fate == 3: // its timing is not shown: the first answer says nothing
				for j := range said {
					said[j].Opened, said[j].Trips = 0, said[j].Trips[:min(j, 1)]
				}
			case fate == 4: // a name that takes long to look up
				for j := range said {
					said[j].At += near
					if said[j].Opened > 0 {
						said[j].Opened += near
					}
				}
			}
			c.News = append(c.News, said...)
		}
		for i := range c.News {
			n := &c.News[i]
			n.At, n.Opened = round(n.At), round(n.Opened)
			for j := range n.Trips {
				n.Trips[j] = round(n.Trips[j])
			}
		}
		slices.SortStableFunc(c.News, func(a, b news) int {
			if a.At < b.At {
				return -1
			} else if a.At > b.At {
				return 1
			}
			return 0
		})
		c.Leader, c.Decided = newRace(c.Trips, 0).run(c.News)
		if err := enc.Encode(c); err != nil {
			t.Fatal(err)
		}
	}
	if err := os.WriteFile(courseFile, out.Bytes(), 0o644); err != nil {
		t.Fatal(err)
	}
}

// TestRace compares the race with races whose course is known.
func TestRace(t *testing.T) {
	w := &world{sites: make([]int, 3), names: []string{"a", "b", "c"}}
	for name, tt := range map[string]struct {
		true   []float64
		leader int
		most   float64 // in round trips of the nearest, jitter left out
	}{
		"the nearest is far nearer": {[]float64{2000, 40, 900}, 1, 5},
		"a dead site is not waited": {[]float64{math.Inf(1), 60, 300}, 1, 5},
		"only one answers":          {[]float64{math.Inf(1), math.Inf(1), 50}, 2, 5},
	} {
		t.Run(name, func(t *testing.T) {
			p := &person{world: w, rnd: seeded(1), true: tt.true}
			for _, way := range []path{overHTTP, overHTTPS, overHTTP2} {
				leader, at := p.race(way, chromium)
				if leader != tt.leader || at < 2*tt.true[leader] || at > tt.most*tt.true[leader]+60 {
					t.Errorf("%v: %d after %v ms", way, leader, at)
				}
			}
		})
	}
	p := &person{world: w, rnd: seeded(1), true: []float64{math.Inf(1), math.Inf(1), math.Inf(1)}}
	if leader, at := p.race(overHTTP, chromium); leader != -1 || at != deadlineMS {
		t.Errorf("nobody answers, and yet %d after %v ms", leader, at)
	}
}

// TestSurvey holds that a survey finds what is near, asks after no more than it
// may, and does not wait for the dead.
func TestSurvey(t *testing.T) {
	m, err := parseMatrix("line", strings.NewReader(lineCSV(80)))
	if err != nil {
		t.Fatal(err)
	}
	w := split(m, 40, 40, seeded(2))
	w.measured()
	for _, dead := range []bool{false, true} {
		far, slow := 0, 0
		for _, place := range w.folk {
			p, ok := w.person(place, seeded(3, uint64(place)))
			if !ok {
				t.Fatal("nobody")
			}
			s := page
			if dead {
				for i := range p.true {
					if i != p.entry && p.rnd.IntN(10) == 0 {
						p.true[i] = math.Inf(1)
					}
				}
				p.best = slices.Min(p.true)
			}
			o := s.ask(p, w.known["measured"].model, &probe.Asked{Entry: w.names[p.entry], EntryNear: true})
			if o.probes > s.most {
				t.Errorf("%d probes", o.probes)
			}
			if p.regret(o.site) > 10 {
				far++
			}
			if o.ms > roundMS {
				slow++
			}
		}
		if far > len(w.folk)/8 || slow > len(w.folk)/8 {
			t.Errorf("dead %v: of %d people %d are far from the nearest, %d waited long", dead, len(w.folk), far, slow)
		}
	}
}
