package brain

import (
	"net/netip"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// Who rests on Play gets no worse seat than who presses it at once.
func TestLendsAGoodSeat(t *testing.T) {
	t.Parallel()
	type idle struct {
		id     string
		load   wire.LoadClass
		people int // who play on its node
	}
	for name, c := range map[string]struct {
		seats []idle
		want  string // "" is none
	}{
		"one calm node":            {[]idle{{"calm", wire.LoadCalm, 0}, {"busy", wire.LoadBusy, 0}, {"full", wire.LoadFull, 0}, {"leaving", wire.LoadLeaving, 0}}, "calm"},
		"three calm nodes":         {[]idle{{"a", wire.LoadCalm, 0}, {"b", wire.LoadCalm, 0}, {"c", wire.LoadCalm, 0}, {"full", wire.LoadFull, 0}}, "c"},
		"only busy ones":           {[]idle{{"a", wire.LoadBusy, 0}, {"b", wire.LoadFull, 0}}, "a"},
		"people play on a node":    {[]idle{{"empty", wire.LoadCalm, 0}, {"people", wire.LoadCalm, 2}, {"one", wire.LoadCalm, 1}}, "people"},
		"all nodes may leave soon": {[]idle{{"a", wire.LoadLeaving, 0}, {"b", wire.LoadLeaving, 0}}, ""},
		"one seat":                 {[]idle{{"a", wire.LoadCalm, 0}}, ""},
	} {
		t.Run(name, func(t *testing.T) {
			s := newLineSite(t)
			children, nodes := map[string]Child{}, map[string]map[string]wire.Seat{}
			for i, x := range c.seats {
				node := "node-" + x.id
				nodes[node] = map[string]wire.Seat{}
				add := func(id string, seat wire.Seat) {
					seat.ID, seat.App, seat.Job, seat.Version, seat.Node, seat.Since = id, game, id, 1, node, s.at.Add(time.Duration(i)*time.Second)
					children[id] = Child{ID: id, App: game, Version: 1, Alloc: id, Node: node, State: ChildRunning, Created: s.at}
					nodes[node][id] = seat
				}
				add(x.id, wire.Seat{State: wire.SeatIdle, Load: x.load})
				for n := range x.people {
					id := node + string(rune('0'+n))
					add(id, wire.Seat{State: wire.SeatStreaming, Session: "session-" + id, Load: x.load})
				}
			}
			s.jobsChanged(JobsChange{Children: children})
			for name, seats := range nodes {
				s.nodeSaid(node{name, name}, true, seats, nil)
			}
			w := newWaiter(ticket.Claims{Session: "anna", App: game, First: s.at}, "", s.at)
			got := ""
			if l := s.lend(w, netip.Prefix{}); l != nil {
				got = l.seat.ID
			}
			if got != c.want {
				t.Errorf("%q is lent, want %q", got, c.want)
			}
			if wrong := s.inconsistent(); wrong != "" {
				t.Error(wrong)
			}
		})
	}
}
