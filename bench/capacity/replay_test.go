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
