package main

import (
	"encoding/xml"
	"errors"
	"io"
	"math"
	"strings"
	"testing"
	"time"
)

// The same people come to every policy, nobody is lost, and no node ends with a person on it but
// those that the cloud takes back.
func TestReplay(t *testing.T) {
	s := site{seats: 4, ready: 3 * time.Minute, length: 10 * time.Minute, max: 40, wait: "2%", hold: "5m", seed: 7, scale: 1}
	d, err := readDay("spot")
	if err != nil {
		t.Fatal(err)
	}
	var before result
	for _, p := range []policy{newHeadroom(), newPeople(s, ""), floor{}} {
		r := replay(s, d, p)
		if r.failed != nil {
			t.Fatal(r.failed)
		}
		expected := 0.0
		for minute := range 24 * 60 {
			expected += d.rate(float64(minute))
		}
		if math.Abs(float64(r.people)-expected) > 5*math.Sqrt(expected) {
			t.Errorf("%T: %d people came, %.0f were expected", p, r.people, expected)
		}
		if before.people != 0 && r.people != before.people {
			t.Errorf("%T: %d people came, and %d to another policy", p, r.people, before.people)
		}
		if r.kept != r.people {
			t.Errorf("%T: of %d people %d are left", p, r.people, r.kept)
		}
		if r.ended != 0 {
			t.Errorf("%T: %d people were on nodes that a policy ended", p, r.ended)
		}
		seatHours := 0.0
		for _, at := range r.points {
			seatHours += float64(at.busy) / 60
		}
		if r.hours*float64(s.seats) < seatHours || r.most > s.max+s.max/2 {
			t.Errorf("%T: %.0f node-hours for %.0f hours of people, %d nodes at once", p, r.hours, seatHours, r.most)
		}
		before = r
	}
	drawn := xml.NewDecoder(strings.NewReader(draw(s, []picture{{name: "a day", before: before, follows: before, to: 24 * 60}})))
	for {
		if _, err := drawn.Token(); errors.Is(err, io.EOF) {
			break
		} else if err != nil {
			t.Fatalf("the picture is no XML: %v", err)
		}
	}
}

// Nobody comes for an hour, and there is no node; the first person waits for one as long as a node takes
// to be ready, and one evaluation at most. When everybody has left there is none again.
func TestFromZero(t *testing.T) {
	s := site{seats: 4, ready: 3 * time.Minute, length: 10 * time.Minute, max: 40, wait: "2%", hold: "5m", seed: 7, scale: 1}
	r := replay(s, day{minutes: []float64{0, 60, 61, 240, 241, 1440}, rates: []float64{0, 0, 1, 1, 0, 0}}, newPeople(s, ""))
	if r.failed != nil || r.people < 100 || r.kept != r.people || r.ended != 0 {
		t.Fatalf("%d people came, %d are left, %d sessions were ended: %v", r.people, r.kept, r.ended, r.failed)
	}
	for minute, at := range r.points {
		if (minute < 60 || minute > 20*60) && at.nodes != 0 {
			t.Fatalf("%d nodes for nobody at minute %d", at.nodes, minute)
		}
	}
	if len(r.waits) == 0 || r.waits[0] < s.ready.Seconds() || r.waits[0] > (s.ready+evaluate).Seconds() {
		t.Errorf("they waited %v; the first one waits %s to %s", r.waits, s.ready, s.ready+evaluate)
	}
}

// The count of sessions that a policy ends is one: a node that is removed with people on it.
func TestEndedIsCounted(t *testing.T) {
	full := &node{people: []*person{{}, {}}}
	w := &world{alive: []*node{{}, full}}
	w.end(full)
	if w.ended != 2 || len(w.alive) != 1 {
		t.Errorf("%d sessions ended, %d nodes are left", w.ended, len(w.alive))
	}
}

// People get an idle seat by the order that is replayed, idle seats start on the fullest node with room,
// and leave a node on which nobody plays where there are to be fewer.
func TestIdleSeats(t *testing.T) {
	at := time.Date(2026, 3, 2, 0, 0, 0, 0, time.UTC)
	for _, longest := range []bool{false, true} {
		someone := &person{ends: at.Add(time.Hour)}
		fuller := &node{people: []*person{someone, someone}, idle: []time.Time{at.Add(-time.Minute)}}
		emptier := &node{idle: []time.Time{at.Add(-time.Hour), at.Add(-time.Hour)}}
		w := &world{site: site{seats: 6, warm: 3, max: 5, longest: longest}, now: at, alive: []*node{emptier, fuller}}
		if !w.place(&person{length: time.Hour}) || len(fuller.people) != map[bool]int{false: 3, true: 2}[longest] {
			t.Errorf("longest %t: %d people on the fuller node, %d on the other", longest, len(fuller.people), len(emptier.people))
		}
		w.keepWarm()
		if w.idle() != 3 || len(fuller.idle)+len(fuller.people) != 4 {
			t.Errorf("longest %t: %d idle seats, %d on the fuller node", longest, w.idle(), len(fuller.idle))
		}
		if longest {
			continue
		}
		w.now = at.Add(time.Minute)
		w.scale(1)
		if len(w.alive) != 1 || w.alive[0] != fuller || w.idle() != 3 {
			t.Errorf("%d nodes and %d idle seats are left", len(w.alive), w.idle())
		}
	}
	s := site{seats: 4, ready: 3 * time.Minute, length: 10 * time.Minute, max: 40, wait: "2%", hold: "5m", seed: 7, scale: 1, warm: 6}
	d, err := readDay("spot")
	if err != nil {
		t.Fatal(err)
	}
	for _, p := range []policy{newHeadroom(), newPeople(s, "")} {
		if r := replay(s, d, p); r.failed != nil || r.kept != r.people || r.ended != 0 {
			t.Errorf("%T: %d came, %d are left, %d were on nodes that ended: %v", p, r.people, r.kept, r.ended, r.failed)
		}
	}
}
