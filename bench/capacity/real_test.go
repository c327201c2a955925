package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
)

// The same people come at the same moments for the same seed, and about as many play as were asked for.
func TestArrivals(t *testing.T) {
	s := site{seats: 4, length: 25 * time.Minute, seed: 3}
	for _, name := range names {
		d, err := readDay(name)
		testkit.Must(t, err)
		const from, lasts, most = 16 * 60., 4 * time.Hour, 40
		people := arrivals(s, d, from, scaleTo(s, d, from, lasts, most), lasts)
		again := arrivals(s, d, from, scaleTo(s, d, from, lasts, most), lasts)
		if len(people) != len(again) || people[len(people)-1] != again[len(again)-1] {
			t.Errorf("%s: %d people, and %d of the same seed", name, len(people), len(again))
		}
		high, before := 0, time.Duration(0)
		for _, p := range people {
			if p.at < before || p.length < 30*time.Second {
				t.Fatalf("%s: %+v comes after %s", name, p, before)
			}
			before = p.at
			n := 0
			for _, q := range people {
				if q.at <= p.at && q.at+q.length > p.at {
					n++
				}
			}
			high = max(high, n)
		}
		if high < most*6/10 || high > most*16/10 {
			t.Errorf("%s: %d people at once, want about %d", name, high, most)
		}
	}
}

// A few seconds of the day on which the cloud takes back nodes, with the real Consul, Nomad,
// nomad-autoscaler and plugin, from zero nodes: people get seats, no session is ended by the autoscaler, nodes come and go, and nothing is left.
func TestReal(t *testing.T) {
	if os.Getuid() != 0 {
		t.Skip("Nomad's raw_exec needs root: NO DAY WAS PLAYED WITH REAL SERVERS")
	}
	for _, tool := range []string{"consul", "nomad", "nomad-autoscaler"} {
		testkit.Tool(t, tool)
	}
	d, err := readDay("weekday")
	testkit.Must(t, err)
	// Short: Nomad has sockets below it.
	dir, err := os.MkdirTemp("/tmp", "rp")
	testkit.Must(t, err)
	defer os.RemoveAll(dir)
	o := realOptions{factor: 48, lasts: 25 * time.Second, most: 5, before: 5 * time.Minute, zero: true, keep: dir}
	d.cuts = []cut{{windows["weekday"] + 1, 1}} // all nodes at once
	s := site{seats: 2, ready: 4 * time.Minute, length: 10 * time.Minute, max: 5, wait: "1%", hold: "1m", seed: 1}
	results, readyIn, err := replayReal(t.Context(), s, "weekday", d, o)
	if err != nil {
		t.Fatal(err)
	}
	for name, r := range results {
		if r.people == 0 || r.hours <= 0 || len(r.points) < 15 {
			t.Errorf("%s: %d people, %.2f node-hours, %d points", name, r.people, r.hours, len(r.points))
		}
		if name == "people" && r.began != 0 {
			t.Errorf("it began with %d nodes, want none", r.began)
		}
		if r.ended != 0 {
			t.Errorf("%s: the autoscaler ended %d sessions", name, r.ended)
		}
		if len(r.waits) == 0 {
			t.Errorf("%s: all nodes were taken back, and nobody waited", name)
		}
	}
	if len(readyIn) < 2 {
		t.Errorf("%d nodes were requested and became ready, want one of each group at least", len(readyIn))
	}
	nothingLeft(t, dir)
}

// nothingLeft fails the test where a process or a mount of a folder is left.
func nothingLeft(t *testing.T, dir string) {
	t.Helper()
	testkit.UntilSeen(t, "no process is left", func() (any, bool) { // a process that is killed is there for a moment
		processes, err := filepath.Glob("/proc/[0-9]*/cmdline")
		testkit.Must(t, err)
		var left []string
		for _, file := range processes {
			if text, _ := os.ReadFile(file); strings.Contains(string(text), dir+"/") || strings.Contains(string(text), dir+"\x00") {
				left = append(left, string(text))
			}
		}
		pids := remaining(dir)
		return fmt.Sprintf("%q, and of seats %v", left, pids), len(left)+len(pids) == 0
	})
	mounts, err := os.ReadFile("/proc/self/mounts")
	testkit.Must(t, err)
	if n := strings.Count(string(mounts), " "+dir+"/"); n > 0 {
		t.Errorf("%d mounts are left", n)
	}
}
