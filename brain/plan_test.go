package brain

import (
	"slices"
	"testing"
	"time"
)

func TestPlan(t *testing.T) {
	t.Parallel()
	aged := func(id string) idleSeat { return idleSeat{id: id, age: time.Hour} }
	fresh := func(id string) idleSeat { return idleSeat{id: id} }
	old := func(id string) idleSeat { return idleSeat{id: id, old: true} }
	for _, c := range []struct {
		name string
		d    demand
		want move
	}{
		{"nothing to do", demand{warm: 1, max: 5, leading: true, counts: counts{idle: 1}, idle: []idleSeat{aged("a")}}, move{}},
		{"fill the pool", demand{warm: 3, max: 5, leading: true, counts: counts{idle: 1}, idle: []idleSeat{aged("a")}}, move{pool: 2}},
		{"only the leader fills", demand{warm: 3, max: 5}, move{}},
		{"starting counts", demand{warm: 3, max: 5, leading: true, counts: counts{starting: 2, foreign: 1}}, move{}},
		{"never beyond max", demand{warm: 5, max: 3, leading: true, counts: counts{busy: 1, ending: 1}}, move{pool: 1}},
		{"on demand", demand{max: 5, waiting: 2}, move{people: 2}},
		{"on demand, bounded", demand{max: 5, waiting: 9, counts: counts{busy: 3}}, move{people: 2}},
		{"others' seats are not ours", demand{max: 5, waiting: 1, counts: counts{foreign: 1}}, move{people: 1}},
		{"the pool's serve people", demand{max: 5, waiting: 1, counts: counts{starting: 1}}, move{}},
		{"people first, then the pool", demand{warm: 1, max: 5, waiting: 2, leading: true}, move{people: 2, pool: 1}},
		{"full site", demand{warm: 2, max: 5, waiting: 2, leading: true, counts: counts{blocked: 1}}, move{}},
		{"back-off", demand{warm: 2, max: 5, waiting: 2, leading: true, backOff: true}, move{}},
		{"unproven, one", demand{warm: 2, max: 5, waiting: 2, leading: true, unproven: true}, move{people: 1}},
		{"unproven, one for the pool", demand{warm: 2, max: 5, leading: true, unproven: true}, move{pool: 1}},
		{"unproven, one at a time", demand{max: 5, waiting: 2, unproven: true, counts: counts{foreign: 1}}, move{}},
		{"old version goes, new comes", demand{warm: 1, max: 5, leading: true, counts: counts{old: 1}, idle: []idleSeat{old("a")}}, move{pool: 1, retire: []string{"a"}}},
		{"old version at max goes first", demand{warm: 1, max: 1, leading: true, counts: counts{old: 1}, idle: []idleSeat{old("a")}}, move{retire: []string{"a"}}},
		{"the app is unpublished", demand{leading: true, unpublished: true, counts: counts{idle: 1, busy: 1}, idle: []idleSeat{fresh("a")}}, move{retire: []string{"a"}}},
		{"surplus, once it is old enough", demand{warm: 1, max: 5, leading: true, counts: counts{idle: 3}, idle: []idleSeat{aged("a"), aged("b"), fresh("c")}}, move{retire: []string{"a", "b"}}},
		{"max was lowered", demand{warm: 1, max: 1, leading: true, counts: counts{idle: 2}, idle: []idleSeat{fresh("a"), fresh("b")}}, move{retire: []string{"a"}}},
		{"a seat that a person waits for is not retired", demand{max: 5, leading: true, waiting: 1, counts: counts{idle: 1}, idle: []idleSeat{aged("a")}}, move{}},
		{"an old seat serves a person that asked for no version", demand{max: 5, waiting: 1, counts: counts{old: 1}, idle: []idleSeat{old("a")}, leading: true}, move{}},
		{"an old seat does not serve a person that asked for the current version", demand{max: 5, waiting: 1, strict: 1, counts: counts{old: 1}, idle: []idleSeat{old("a")}, leading: true}, move{people: 1, retire: []string{"a"}}},
		{"at max it is retired for that person", demand{max: 1, waiting: 1, strict: 1, counts: counts{old: 1}, idle: []idleSeat{old("a")}, leading: true}, move{retire: []string{"a"}}},
		{"each person gets a seat that serves them", demand{max: 5, waiting: 2, strict: 1, counts: counts{idle: 1, old: 1}, idle: []idleSeat{fresh("b"), old("a")}, leading: true}, move{}},
		{"other replicas do not retire", demand{max: 5, counts: counts{idle: 1}, idle: []idleSeat{aged("a")}}, move{}},
	} {
		got := plan(c.d)
		if got.people != c.want.people || got.pool != c.want.pool || !slices.Equal(got.retire, c.want.retire) {
			t.Errorf("%s: got %+v, want %+v", c.name, got, c.want)
		}
	}
}

func FuzzPlan(f *testing.F) {
	f.Add(uint8(1), uint8(5), uint8(1), uint8(0), uint8(0), uint8(0), uint8(0), uint8(1), uint8(0), uint8(2), uint8(1), uint16(3))
	f.Fuzz(func(t *testing.T, warm, most, idle, old, starting, foreign, blocked, busy, ending, waiting, flags uint8, ages uint16) {
		d := demand{warm: int(warm), max: int(most), waiting: int(waiting), strict: int(waiting) * int(flags>>4) / 15,
			leading: flags&1 != 0, unpublished: flags&2 != 0, backOff: flags&4 != 0, unproven: flags&8 != 0,
			counts: counts{int(idle), int(old), int(starting), int(foreign), int(blocked), int(busy), int(ending)}}
		for i := range d.counts.idle + d.counts.old {
			d.idle = append(d.idle, idleSeat{id: string(rune('a' + i)), old: i >= d.counts.idle, age: time.Duration(ages>>(i%16)&1) * time.Hour})
		}
		m := plan(d)
		dispatch := m.people + m.pool
		switch {
		case m.people < 0 || m.pool < 0:
			t.Fatalf("negative: %+v", m)
		case dispatch > 0 && d.counts.total()+dispatch > d.max:
			t.Fatalf("beyond max: %+v of %+v", m, d)
		case dispatch > 0 && (d.backOff || d.unpublished || d.counts.blocked > 0):
			t.Fatalf("dispatched: %+v of %+v", m, d)
		case d.unproven && (dispatch > 1 || dispatch > 0 && d.counts.starting+d.counts.foreign > 0):
			t.Fatalf("more than one seat to find out: %+v of %+v", m, d)
		case m.people > d.waiting:
			t.Fatalf("more seats than people: %+v of %+v", m, d)
		case !d.leading && (m.pool > 0 || len(m.retire) > 0):
			t.Fatalf("not the leader, and plans the pool: %+v of %+v", m, d)
		case d.strict == 0 && len(m.retire) > 0 && len(d.idle)-len(m.retire) < d.waiting:
			t.Fatalf("retired seats that people wait for: %+v of %+v", m, d)
		}
		current := 0
		seen := map[string]bool{}
		for _, id := range m.retire {
			if seen[id] {
				t.Fatalf("retired twice: %+v", m)
			}
			seen[id] = true
			for _, s := range d.idle {
				if s.id == id && !s.old {
					current++
				}
			}
		}
		// To dispatch and to retire the same kind of seat would never end.
		if current > 0 && m.pool > 0 {
			t.Fatalf("fills and empties the pool at once: %+v of %+v", m, d)
		}
	})
}
