package events

import (
	"crypto/rand"
	"encoding/json"
	"fmt"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

var epoch = time.Date(2026, 3, 4, 5, 6, 7, 0, time.UTC)

// look is what is seen so many seconds after epoch.
type look struct {
	s     float64
	state string // of session a; empty where it is not seen
	seat  string
	ended map[string]wire.End
	want  string // events, in short
}

func at(s float64) time.Time { return epoch.Add(time.Duration(s * float64(time.Second))) }

// TestDiff walks sessions from look to look. Known is written and read between all of them, as if
// each had a leader of its own.
func TestDiff(t *testing.T) {
	left, exited := map[string]wire.End{"x": {Reason: wire.ReasonLeft}}, map[string]wire.End{"x": {Reason: wire.ReasonError, Code: wire.CodeMemory, Detail: "of node n1"}}
	for name, looks := range map[string][]look{
		"an idle seat": {{0, "claimed", "x", nil, "1-requested"}, {1, "streaming", "x", nil, "2-started"}, {2, "streaming", "x", nil, ""},
			{3, "", "", nil, ""}, {4, "", "", left, "3-ended left 2s"}, {5, "", "", left, ""}},
		"a queue": {{0, "waiting", "", nil, "1-requested"}, {0.5, "waiting", "", nil, ""}, {1, "waiting", "", nil, "2-queued"},
			{2, "waiting", "", nil, ""}, {3, "claimed", "x", nil, ""}, {4, "streaming", "x", nil, "3-started"}, {5, "", "", exited, "4-ended error(memory-limit) 1s"}},
		"seen late":        {{9, "streaming", "x", nil, "1-requested 2-started"}},
		"seen detached":    {{9, "detached", "x", nil, "1-requested 2-started 3-detached"}, {10, "streaming", "x", nil, "4-resumed"}},
		"away and back":    {{0, "streaming", "x", nil, "1-requested 2-started"}, {1, "detached", "x", nil, "3-detached"}, {2, "detached", "x", nil, ""}, {3, "streaming", "x", nil, "4-resumed"}, {4, "detached", "x", nil, "5-detached"}, {5, "", "", left, "6-ended left 5s"}},
		"leaves a queue":   {{0, "waiting", "", nil, "1-requested"}, {10, "", "", nil, ""}, {80, "", "", nil, ""}, {101, "", "", nil, "2-ended left"}, {102, "waiting", "", nil, ""}},
		"another brain":    {{0, "waiting", "", nil, "1-requested"}, {10, "", "", nil, ""}, {15, "waiting", "", nil, "2-queued"}, {100, "waiting", "", nil, ""}, {101, "", "", nil, ""}, {150, "", "", nil, ""}, {195, "", "", nil, "3-ended left"}},
		"never connects":   {{0, "claimed", "x", nil, "1-requested"}, {10, "", "", nil, ""}, {101, "", "", nil, "2-ended lost"}},
		"a node is lost":   {{0, "streaming", "x", nil, "1-requested 2-started"}, {60, "", "", nil, ""}, {120, "", "", nil, ""}, {181, "", "", nil, "3-ended error(stream-host-died) 60s"}},
		"a feed is lost":   {{0, "streaming", "x", nil, "1-requested 2-started"}, {60, "", "", nil, ""}, {70, "streaming", "x", nil, ""}},
		"ends unconnected": {{0, "claimed", "x", nil, "1-requested"}, {2, "", "", left, "2-ended left"}},
	} {
		t.Run(name, func(t *testing.T) {
			known := Known{}
			state, since := "", epoch
			for _, l := range looks {
				if l.state != state {
					state, since = l.state, at(l.s)
				}
				now := Snapshot{At: at(l.s), Ended: l.ended, Sessions: map[string]Session{}}
				if l.state == wire.StateWaiting {
					since = epoch
				}
				if l.state != "" {
					now.Sessions["a"] = Session{App: "game", Customer: "shop", Meta: map[string]string{"order": "7"}, State: l.state, Since: since, Seat: l.seat}
				}
				events, next := known.Diff("here", now)
				var got []string
				for _, e := range events {
					short := strings.TrimPrefix(e.ID, "a-")
					if !strings.HasSuffix(e.Type, short[2:]) || e.Subject != "a" || e.Source != "/sites/here" || e.Data.Customer != "shop" || e.Data.Meta["order"] != "7" || e.Data.App != "game" || e.SpecVersion != "1.0" {
						t.Errorf("%+v", e)
					}
					if e.Data.End != nil {
						if strings.Contains(e.Data.End.Detail, "n1") {
							t.Errorf("the customer learns %q", e.Data.End.Detail)
						}
						end := *e.Data.End
						end.Detail = ""
						short += " " + end.String()
					}
					if e.Data.DurationS != 0 {
						short += fmt.Sprintf(" %gs", e.Data.DurationS)
					}
					got = append(got, short)
				}
				if strings.Join(got, " ") != l.want {
					t.Errorf("at %g s: %q, want %q", l.s, strings.Join(got, " "), l.want)
				}
				if again, _ := known.Diff("here", now); !slices.EqualFunc(again, events, func(a, b wire.Event) bool { return a.ID == b.ID }) {
					t.Errorf("at %g s another leader tells %+v", l.s, again)
				}
				data, err := encodeKnown(next)
				if err == nil {
					known, err = decodeKnown(data)
				}
				if err != nil {
					t.Fatal(err)
				}
			}
		})
	}
}

// TestShortSession: who plays for less than the time between two looks has played.
func TestShortSession(t *testing.T) {
	left := map[string]wire.End{"x": {Reason: wire.ReasonLeft}}
	was := Session{App: "game", Customer: "shop", State: string(wire.SeatStreaming), Since: at(0.6), Seat: "x"}
	for name, before := range map[string]Session{
		"waited": {App: "game", Customer: "shop", State: wire.StateWaiting, Since: epoch}, "was granted": {App: "game", Customer: "shop", State: string(wire.SeatClaimed), Since: epoch, Seat: "x"},
	} {
		_, known := Known{}.Diff("here", Snapshot{At: at(0), Sessions: map[string]Session{"a": before}})
		early, known := known.Diff("here", Snapshot{At: at(0.5)})
		got, known := known.Diff("here", Snapshot{At: at(1), Ended: left, Over: map[string]Session{"a": was, "b": was}, Quality: map[string]*wire.Quality{"x": {FPS: 60}}})
		if len(early) != 0 || len(got) != 2 || got[0].Type != wire.EventStarted || !got[0].Time.Equal(at(0.6)) || got[0].Data.Number != 2 || got[0].Data.Seat != "x" || got[1].Type != wire.EventEnded ||
			got[1].Data.End.Reason != wire.ReasonLeft || got[1].Data.DurationS != 0.4 || got[1].Data.Quality == nil {
			t.Errorf("%s: %+v, %+v", name, early, got)
		}
		if again, _ := known.Diff("here", Snapshot{At: at(2), Ended: left, Over: map[string]Session{"a": was}}); len(again) != 0 {
			t.Errorf("%s: told again: %+v", name, again)
		}
	}
}

// TestDiffOfASite has apps that are published, and seats that fail.
func TestDiffOfASite(t *testing.T) {
	known := Known{}
	tell := func(s float64, apps map[string]App, failed map[string]Failure) (ids []string) {
		t.Helper()
		events, next := known.Diff("here", Snapshot{At: at(s), Apps: apps, Failed: failed})
		known = next
		for _, e := range events {
			ids = append(ids, e.ID)
			if e.Data.Site != "here" || e.Data.App != "game" || e.Data.Version == 0 {
				t.Errorf("%+v", e)
			}
		}
		return ids
	}
	f := Failure{App: "game", Version: 2, End: wire.End{Reason: wire.ReasonError, Code: wire.CodeAppNoWindow}, At: at(1)}
	if got := tell(0, map[string]App{"game": {Version: 1}}, map[string]Failure{"old": f}); len(got) != 0 {
		t.Errorf("what was there before anybody looked: %q", got)
	}
	if got := tell(1, map[string]App{"game": {Version: 2, Title: "Game"}}, map[string]Failure{"old": f, "new": f}); !slices.Equal(got, []string{"app-here-game-2", "seat-new-failed"}) {
		t.Errorf("a version and a failure: %q", got)
	}
	if got := tell(2, map[string]App{"game": {Version: 2}}, map[string]Failure{"new": f}); len(got) != 0 {
		t.Errorf("again: %q", got)
	}
	tell(3, nil, nil)
	if got := tell(4, map[string]App{"game": {Version: 2}}, nil); !slices.Equal(got, []string{"app-here-game-2"}) {
		t.Errorf("an app that comes back: %q", got)
	}
	tell(4+toldFor.Seconds()+1, nil, nil)
	if len(known.Failed) != 0 {
		t.Errorf("failures are remembered for ever: %v", known.Failed)
	}
}

// TestQuality has a session end whose seat said what it was like while it was there, also where it
// was away last, or in its last moment.
func TestQuality(t *testing.T) {
	early, late := &wire.Quality{FrozenS: 1}, &wire.Quality{FrozenS: 2}
	for name, one := range map[string]struct {
		last map[string]*wire.Quality
		want float64
	}{"as it was seen": {nil, 1}, "in its last moment": {map[string]*wire.Quality{"x": late}, 2}, "a seat that forgot": {map[string]*wire.Quality{"x": nil}, 1}} {
		known := Known{}
		var ended []wire.Event
		for _, now := range []Snapshot{
			{At: at(0), Sessions: map[string]Session{"a": {App: "game", State: "streaming", Since: epoch, Seat: "x", Quality: early}}},
			{At: at(1), Sessions: map[string]Session{"a": {App: "game", State: "detached", Since: epoch, Seat: "x"}}},
			{At: at(2), Ended: map[string]wire.End{"x": {Reason: wire.ReasonLeft}}, Quality: one.last},
		} {
			ended, known = known.Diff("here", now)
		}
		if len(ended) != 1 || ended[0].Data.Quality == nil || ended[0].Data.Quality.FrozenS != one.want {
			t.Errorf("%s: %+v", name, ended)
		}
	}
	_, known := Known{}.Diff("here", Snapshot{At: at(0), Sessions: map[string]Session{"a": {State: "claimed", Since: epoch, Seat: "x", Quality: early}}})
	if ended, _ := known.Diff("here", Snapshot{At: at(1), Ended: map[string]wire.End{"x": {Reason: wire.ReasonLost}}}); len(ended) != 1 || ended[0].Data.Quality != nil {
		t.Errorf("of a session that did not start: %+v", ended)
	}
}

// TestIDs has one session at two sites: no two events of all sites have one id.
func TestIDs(t *testing.T) {
	now := Snapshot{At: epoch, Sessions: map[string]Session{ticket.NewSessionAt("here"): {App: "game", State: "claimed", Since: epoch}}}
	ids := map[string]bool{}
	for _, site := range []string{"here", "there", "elsewhere"} {
		events, _ := Known{}.Diff(site, now)
		ids[events[0].ID] = true
	}
	if len(ids) != 3 {
		t.Errorf("three sites tell %v", ids)
	}
}

// crowd is a site with n sessions of which all was told.
func crowd(n int) (Snapshot, Known) {
	now := Snapshot{At: epoch, Sessions: map[string]Session{}}
	for range n {
		now.Sessions["s-eu-west-1-"+rand.Text()] = Session{App: "cad-viewer", Customer: "shop", Subject: fmt.Sprintf("%x", randomBytes(16)), State: "streaming",
			Since: epoch.Add(time.Duration(len(now.Sessions)) * time.Millisecond), Seat: fmt.Sprintf("%x", randomBytes(16))}
	}
	_, known := Known{}.Diff("eu-west-1", now)
	return now, known
}

// TestKnownOfASite says how large is what a leader stores each second.
func TestKnownOfASite(t *testing.T) {
	now, _ := crowd(5000)
	began := time.Now()
	_, known := Known{}.Diff("eu-west-1", now)
	diffed := time.Since(began)
	began = time.Now()
	data, err := encodeKnown(known)
	if err != nil {
		t.Fatal(err)
	}
	plain, _ := json.Marshal(known)
	t.Logf("5,000 sessions: compared in %s, %d KiB of JSON, %d KiB stored, encoded in %s", diffed, len(plain)>>10, len(data)>>10, time.Since(began))
	if back, err := decodeKnown(data); err != nil || len(back.Sessions) != 5000 || back.differs(known) {
		t.Errorf("read again: %d, %v", len(back.Sessions), err)
	}
}

// BenchmarkDiff is what a leader does twice a second, and BenchmarkEncode once a second, of 10,000 sessions.
func BenchmarkDiff(b *testing.B) {
	now, known := crowd(10_000)
	for b.Loop() {
		if events, _ := known.Diff("eu-west-1", now); len(events) != 0 {
			b.Fatal(events)
		}
	}
}

func BenchmarkEncode(b *testing.B) {
	_, known := crowd(10_000)
	for b.Loop() {
		if _, err := encodeKnown(known); err != nil {
			b.Fatal(err)
		}
	}
}
