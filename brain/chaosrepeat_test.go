package brain

import (
	"encoding/json"
	"flag"
	"fmt"
	"regexp"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

var stepsFlag = flag.Bool("steps", false, "chaos writes each step and decision to the test's log where it fails")

// log keeps a step or a decision.
func (c *chaos) log(format string, args ...any) {
	if c.logs {
		c.trace = append(c.trace, fmt.Sprintf("%v: ", c.now.Sub(time.Unix(1_000_000, 0)))+fmt.Sprintf(format, args...))
	}
}

// logDecision keeps what a replica decided.
func (c *chaos) logDecision(m *simReplica, d decision) {
	if !c.logs {
		return
	}
	for _, o := range d.orders {
		c.log("%s orders %s of version %d", m.id, o.token, o.app.Version)
	}
	for _, seat := range d.retire {
		c.log("%s retires %s", m.id, seat.ID)
	}
	for _, seat := range d.unload {
		c.log("%s stops the fetch of %s", m.id, seat.ID)
	}
	if len(d.stop)+len(d.ask) > 0 {
		c.log("%s stops %v and asks about %v", m.id, d.stop, d.ask)
	}
}

// logState keeps what a replica knows, as far as it decides by that.
func (c *chaos) logState(m *simReplica) {
	if !c.logs {
		return
	}
	var out strings.Builder
	for id, a := range m.view.apps {
		fmt.Fprintf(&out, " %s %+v, free", id, a.counts)
		for _, u := range a.free {
			fmt.Fprint(&out, " ", u.child.Alloc)
		}
		fmt.Fprint(&out, ", coming")
		for _, one := range a.coming {
			fmt.Fprint(&out, " ", one.token)
		}
		fmt.Fprintf(&out, ", cold start %v, sessions %v", a.coldStarts.median(), a.sessionLengths.mean())
		if f := a.failures; f != nil {
			fmt.Fprintf(&out, ", %d failures until %v", f.failures, f.until)
		}
		fmt.Fprint(&out, ", queue")
		if l := m.lines[id]; l != nil {
			for _, p := range l.places {
				fmt.Fprintf(&out, " %s:%s%s", p.session, p.brain, p.offered)
			}
		}
	}
	c.log("%s, %d offers, %d flagged:%s", m.id, m.offers, len(m.view.flagged), out.String())
}

// asText is a message to a person, as text.
type asText wire.Message

func (m asText) String() string {
	text, err := json.Marshal(wire.Message(m))
	return fmt.Sprint(string(text), err)
}

// sayHow says how to run a test again that has failed: a seed always gives the same run.
func (c *chaos) sayHow() {
	if !c.t.Failed() {
		return
	}
	if *stepsFlag {
		c.t.Log("the steps:\n" + strings.Join(c.trace, "\n"))
	}
	c.t.Logf("the same seed gives the same run; with all its steps: go test ./brain -run '%s' -steps", runAgain(c.t.Name()))
}

// runAgain is the value of -run for one test.
func runAgain(name string) string {
	parts := strings.Split(name, "/")
	for i, part := range parts {
		parts[i] = "^" + regexp.QuoteMeta(part) + "$"
	}
	return strings.Join(parts, "/")
}

// TestSameSeedSameRun runs seeds twice. It fails where the order of a map, the clock or
// anything else that a seed does not decide has decided something. It knows only the orders
// that matter in these runs; TestTurns and those beside it hold the others.
func TestSameSeedSameRun(t *testing.T) {
	t.Parallel()
	for _, seed := range []uint64{0, 1, 2, 3, 18, 49} {
		t.Run(fmt.Sprint("seed ", seed), func(t *testing.T) {
			run := func() []string {
				c := newChaos(t, seed, 3, App{ID: game, Version: 1, Warm: int(seed % 3), Max: 2 + int(seed)})
				c.logs = true
				for range 4000 {
					c.step()
				}
				c.calmDown()
				return c.trace
			}
			first, second := run(), run()
			for i, line := range first {
				if i == len(second) || line != second[i] {
					other := slices.Concat(second, []string{"nothing more"})[i]
					t.Fatalf("line %d of %d: the first run has\n%s\nand the second\n%s\nafter\n%s",
						i, len(first), line, other, strings.Join(first[max(0, i-5):i], "\n"))
				}
			}
			if len(second) > len(first) || len(first) < 8000 {
				t.Fatalf("the runs have %d and %d lines", len(first), len(second))
			}
		})
	}
}

// TestHowToRunAgain says which test runs a failed seed again.
func TestHowToRunAgain(t *testing.T) {
	t.Parallel()
	if got := runAgain("TestChaos/2_replicas,_seed_7"); got != "^TestChaos$/^2_replicas,_seed_7$" {
		t.Error(got)
	}
}
