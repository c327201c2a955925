package brain

import (
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/nearcast/nearcast/internal/feed"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestFigures: what seats measure is seen in views and in the leader's metrics, costs no plan, and
// is forgotten with its app.
func TestFigures(t *testing.T) {
	now := time.Unix(1_800_000_000, 0).UTC()
	reg := prometheus.NewRegistry()
	st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(reg), func() time.Time { return now })
	reg.MustRegister(seatsCollector{st})
	jobs := JobsChange{All: true,
		Apps:     map[string]App{"game": {ID: "game", Version: 1, Pool: "gpu", Max: 2}},
		Children: map[string]Child{"game/dispatch-v1-1": {ID: "game/dispatch-v1-1", App: "game", Version: 1, Alloc: "a1", Node: "n1", State: ChildRunning, Created: now}}}
	st.jobsChanged(jobs)
	seat := wire.Seat{ID: "a1", App: "game", Job: "game/dispatch-v1-1", Version: 1, Node: "n1", Address: "10.0.0.1:1", Key: "k", State: wire.SeatStreaming, Session: "s-1", Since: now}
	say := func(change func(*wire.Seat)) {
		change(&seat)
		st.nodeSaid(node{feed: "n1/r", name: "n1"}, false, map[string]wire.Seat{"a1": seat}, nil)
	}
	measures := func(change func(*wire.Seat)) {
		t.Helper()
		change(&seat)
		f := &feeds{state: st}
		if err := f.takes(node{feed: "n1/r", name: "n1"}, map[string]bool{}, feed.Message[wire.Seat]{Brief: map[string]string{"a1": seat.Brief(), "other": seat.Brief()}}); err != nil {
			t.Fatal(err)
		}
	}
	count := func() string {
		var out []string
		for _, name := range []string{"nearcast_session_rtt_seconds", "nearcast_session_page_frozen_ratio", "nearcast_session_inject_seconds", "nearcast_session_duration_seconds", "nearcast_seats"} {
			n := 0
			families, err := reg.Gather()
			if err != nil {
				t.Fatal(err)
			}
			for _, f := range families {
				if f.GetName() == name {
					n += len(f.Metric)
				}
			}
			out = append(out, fmt.Sprint(n))
		}
		return strings.Join(out, " ")
	}
	say(func(*wire.Seat) {})
	measures(func(s *wire.Seat) {
		s.Measured = &wire.Measured{At: now, RTTMS: 30, Page: &wire.PageMeasured{FrozenMS: 5}}
	})
	if got := count(); got != "0 0 0 0 0" {
		t.Errorf("a brain that does not lead counts: %s", got)
	}
	st.setLeading(true)
	<-st.wakeup
	clear(st.plans)
	now = now.Add(5 * time.Second)
	measures(func(s *wire.Seat) {
		s.Measured = &wire.Measured{At: now, RTTMS: 40, Page: &wire.PageMeasured{FrozenMS: 5}}
		s.Quality = &wire.Quality{DurationS: 12, FrozenS: 3}
	})
	if len(st.plans) > 0 {
		t.Errorf("what was measured makes a plan: %v", st.plans)
	}
	if got := count(); got != "1 1 0 0 6" { // of a histogram, its label sets; no session had input
		t.Errorf("the leader counts: %s", got)
	}
	view, _, _, ok := st.session("s-1")
	if !ok || view.Measured == nil || view.Measured.RTTMS != 40 || view.Quality == nil || view.Quality.FrozenS != 3 {
		t.Errorf("the view is %+v", view)
	}
	text := gather(t, reg)
	for _, want := range []string{
		`nearcast_session_rtt_seconds_sum{app="game",pool="gpu"} 0.04`, `nearcast_session_rtt_seconds_count{app="game",pool="gpu"} 1`,
		`nearcast_seats{app="game",pool="gpu",state="streaming"} 1`, `nearcast_seats{app="game",pool="gpu",state="idle"} 0`,
	} {
		if !strings.Contains(text, want) {
			t.Errorf("there is no %s", want)
		}
	}
	if strings.Contains(text, "s-1") || strings.Contains(text, "a1") {
		t.Error("a session or a seat is a label")
	}
	// The same once more, and then the end: each counts once.
	say(func(*wire.Seat) {})
	say(func(s *wire.Seat) { s.State = wire.SeatEnding })
	say(func(*wire.Seat) {})
	st.nodeSaid(node{feed: "n1/r", name: "n1"}, false, nil, []string{"a1"})
	if text = gather(t, reg); !strings.Contains(text, `nearcast_session_rtt_seconds_count{app="game",pool="gpu"} 1`) ||
		!strings.Contains(text, `nearcast_session_duration_seconds_count{app="game",pool="gpu"} 1`) || !strings.Contains(text, `nearcast_session_frozen_ratio_sum{app="game",pool="gpu"} 0.25`) {
		t.Errorf("at the end:\n%s", text)
	}
	st.jobsChanged(JobsChange{All: true})
	now = now.Add(time.Hour)
	st.timePassed()
	if got := count(); got != "0 0 0 0 0" {
		t.Errorf("of an app that is gone there is %s", got)
	}
	st.jobsChanged(jobs)
	seat.State, seat.Since, seat.Measured, seat.Quality = wire.SeatStreaming, now, nil, nil
	say(func(*wire.Seat) {})
	measures(func(s *wire.Seat) { s.Measured = &wire.Measured{At: now, RTTMS: 40} })
	if got := count(); got != "1 0 0 0 6" {
		t.Errorf("of an app that is back there is %s", got)
	}
}

func gather(t *testing.T, reg *prometheus.Registry) string {
	t.Helper()
	families, err := reg.Gather()
	if err != nil {
		t.Fatal(err)
	}
	var out strings.Builder
	for _, f := range families {
		for _, m := range f.Metric {
			labels := ""
			for _, l := range m.Label {
				labels += fmt.Sprintf("%s=%q,", l.GetName(), l.GetValue())
			}
			labels = strings.TrimSuffix(labels, ",")
			switch {
			case m.Histogram != nil:
				fmt.Fprintf(&out, "%s_sum{%s} %v\n%s_count{%s} %v\n", f.GetName(), labels, m.Histogram.GetSampleSum(), f.GetName(), labels, m.Histogram.GetSampleCount())
			case m.Gauge != nil:
				fmt.Fprintf(&out, "%s{%s} %v\n", f.GetName(), labels, m.Gauge.GetValue())
			}
		}
	}
	return out.String()
}

// What a node says that was taken over is cut to what can be, before anything sums it up.
func TestBoundMeasured(t *testing.T) {
	set := map[string]wire.Seat{"a": {ID: "a", Measured: &wire.Measured{At: time.Now().Add(time.Hour), RTTMS: 1e300, Loss: 7, Encoder: strings.Repeat("x", 1<<20)}, Quality: &wire.Quality{FrozenS: -1}}, "b": {ID: "b"}}
	boundMeasured(set, time.Now())
	if m := set["a"].Measured; m.RTTMS > 60_000 || m.Loss != 1 || m.Encoder != "" || m.At.After(time.Now()) || set["a"].Quality.FrozenS != 0 || set["b"].Measured != nil {
		t.Errorf("%+v %+v", m, set["a"].Quality)
	}
}

// BenchmarkMeasured takes what a node of 16 seats tells every 10 s, at a site of 10,000 seats. Such a
// site has 62.5 of these a second.
func BenchmarkMeasured(b *testing.B) {
	const nodes, each = 625, 16
	now := time.Unix(1_800_000_000, 0).UTC()
	st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now.Add(time.Minute) })
	st.setLeading(true)
	jobs := JobsChange{All: true, Apps: map[string]App{}, Children: map[string]Child{}}
	texts := make([][2][]byte, nodes)
	for n := range nodes {
		name := fmt.Sprint("node-", n)
		var set [2]map[string]wire.Seat
		for i := range set {
			set[i] = map[string]wire.Seat{}
			for k := range each {
				app := fmt.Sprint("app-", k)
				id, job := fmt.Sprintf("0f1e2d3c-%08d-%04d", n, k), fmt.Sprintf("%s/dispatch-v1-%d-%d", app, n, k)
				jobs.Apps[app] = App{ID: app, Version: 1, Max: nodes}
				jobs.Children[job] = Child{ID: job, App: app, Version: 1, Alloc: id, Node: name, State: ChildRunning, Created: now}
				at := now.Add(time.Duration(i) * 10 * time.Second)
				set[i][id] = wire.Seat{ID: id, App: app, Job: job, Version: 1, Node: name, Address: fmt.Sprintf("10.0.0.%d:%d", k, n), Key: "JfVq0aVZ4oK0dGqS3k5pGm0sPq7mXb1yZr2wN8uTc4E", State: wire.SeatStreaming,
					Session: fmt.Sprintf("s-dc1-%d-%d", n, k), Since: now, Load: wire.LoadBusy,
					Measured: (&wire.Measured{At: at, RTTMS: 23.4, Loss: 0.0012, BitrateKbps: 3456.7, TargetKbps: 8000, FPS: 29.8, Paints: 27.2, CaptureMS: 2.3, EncodeMS: 6.8, QueueMS: 2.1, InjectMS: 0.41,
						Encoder: "x264enc", Preset: "superfast", Width: 1280, Height: 720, Page: &wire.PageMeasured{FPS: 29.7, FrozenMS: 1.2, DecodeMS: 4.1, BufferMS: 21, Concealed: 0.001}}).Bounded(at),
					Quality: &wire.Quality{DurationS: 1234.5, RTTMS: 22.1, RTTP95MS: 35.4, Loss: 0.002, FPS: 29.5, BitrateKbps: 3200, FrozenS: 1.4}}
			}
			briefs := map[string]string{}
			for id, s := range set[i] {
				briefs[id] = s.Brief()
			}
			texts[n][i], _ = json.Marshal(feed.Message[wire.Seat]{Seq: 1, Brief: briefs})
		}
		st.nodeSaid(node{feed: name + "/r", name: name}, true, set[0], nil)
	}
	st.jobsChanged(jobs)
	b.ReportMetric(float64(len(texts[0][0])), "bytes/message")
	f := &feeds{state: st}
	for i := 0; b.Loop(); i++ {
		n := i % nodes
		name := fmt.Sprint("node-", n)
		var m feed.Message[wire.Seat]
		if err := json.Unmarshal(texts[n][(i/nodes+1)%2], &m); err != nil {
			b.Fatal(err)
		}
		if err := f.takes(node{feed: name + "/r", name: name}, nil, m); err != nil {
			b.Fatal(err)
		}
	}
}
