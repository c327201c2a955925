package main

import (
	"fmt"
	"os"
	"slices"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
)

// What docs/CAPACITY.md says of days replayed, and its picture, is what the replay gives.
func TestDocs(t *testing.T) {
	text, err := os.ReadFile("../../docs/CAPACITY.md")
	testkit.Must(t, err)
	doc := strings.Join(strings.Fields(string(text)), " ")
	s := usual()
	s.seats = 8
	var pictures []picture
	waits, people := map[string]int{}, map[string]int{}
	for _, name := range names {
		d, err := readDay(name)
		testkit.Must(t, err)
		var follows, known, floors, moved []float64
		waitedBefore, waitedKnown := 0, 0
		for n := range 6 {
			one := s
			one.seed += uint64(n)
			before, following := replay(one, d, newHeadroom()), replay(one, d, newPeople(one, ""))
			atOnce := one
			atOnce.ready = 0
			least := replay(atOnce, d, floor{})
			if ended := before.ended + following.ended + least.ended; ended != 0 || following.failed != nil {
				t.Errorf("%s, seed %d: %d sessions were ended by a policy: %v", name, one.seed, ended, following.failed)
			}
			people[name] += following.people
			waits[name] += len(following.waits)
			waitedBefore += len(before.waits)
			follows, floors = append(follows, following.hours/before.hours), append(floors, least.hours/before.hours)
			moved = append(moved, one.moved(least)/before.hours)
			if n == 0 {
				pictures = append(pictures, picture{name: name, before: before, follows: following, to: 24 * 60})
			}
			if name == "launch" {
				scheduled := replay(one, d, newPeople(one, launchSchedule))
				waitedKnown += len(scheduled.waits)
				known = append(known, scheduled.hours/before.hours)
				if n == 0 {
					pictures = append(pictures, picture{name: name + ", with a schedule", before: before, follows: scheduled, to: 24 * 60})
				}
			}
		}
		waited := thousands(waits[name])
		if name == "launch" {
			waited += fmt.Sprintf("; %s with a schedule, at %.1f %%", thousands(waitedKnown), 100*mean(known))
		}
		title := map[string]string{"spot": "spot nodes taken back"}[name]
		if title == "" {
			title = name
		}
		row := fmt.Sprintf("| %s | %s | %s | %s | %s | %s | %s |", title, thousands(people[name]), thousands(waitedBefore), waited, span(follows), span(floors), span(moved))
		if !strings.Contains(doc, row) {
			t.Errorf("docs/CAPACITY.md does not have the row %s", row)
		}
	}
	for _, name := range []string{"launch", "spot"} {
		share := fmt.Sprintf("%s of %s, %.1f %%", thousands(waits[name]), thousands(people[name]), 100*float64(waits[name])/float64(people[name]))
		if !strings.Contains(doc, share) {
			t.Errorf("docs/CAPACITY.md does not say that on a day of %s waited %s", name, share)
		}
	}
	drawn, err := os.ReadFile("../../docs/capacity.svg")
	testkit.Must(t, err)
	if string(drawn) != draw(s, pictures) {
		t.Error("docs/capacity.svg is not the picture of these days: make bench-capacity BENCH=\"-svg docs/capacity.svg\"")
	}
}

func mean(of []float64) (sum float64) {
	for _, one := range of {
		sum += one / float64(len(of))
	}
	return sum
}

// span is the mean of shares, the least and the most.
func span(of []float64) string {
	return fmt.Sprintf("%.1f %% (%.1f to %.1f)", 100*mean(of), 100*slices.Min(of), 100*slices.Max(of))
}

func thousands(n int) string {
	if n < 1000 {
		return fmt.Sprint(n)
	}
	return fmt.Sprintf("%d,%03d", n/1000, n%1000)
}
