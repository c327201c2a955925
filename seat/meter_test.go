package seat

import (
	"encoding/json"
	"math"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// A session is measured over two connections, and what happens between them does not count.
func TestMeter(t *testing.T) {
	var m meter
	at := time.Unix(1_800_000_000, 0)
	var now figures
	second := func(rtt time.Duration, pictures, bytes int) *wire.Measured {
		at = at.Add(time.Second)
		now.at, now.peer.RTT, now.peer.TargetBPS = at, rtt, 4_000_000
		now.peer.Pictures += uint64(pictures)
		now.peer.Bytes += uint64(bytes)
		now.peer.Packets += 100
		now.peer.Lost += 2
		now.peer.Reports += 10
		now.peer.Queue += 10 * 4 * time.Millisecond
		now.peer.Inputs += 5
		now.peer.InputTime += 5 * 300 * time.Microsecond
		now.capture.Changed += pictures / 2
		now.capture.Capture += time.Duration(pictures/2) * 2 * time.Millisecond
		now.capture.Encoded += pictures
		now.capture.Encode += time.Duration(pictures) * 6 * time.Millisecond
		now.capture.Encoder, now.capture.Preset = "x264enc", "superfast"
		return m.add("s-1", "first", now, 50*time.Millisecond)
	}
	if second(20*time.Millisecond, 30, 125_000) != nil || m.quality() != nil {
		t.Error("something was measured in no time")
	}
	var told []*wire.Measured
	for range 19 {
		if got := second(20*time.Millisecond, 30, 125_000); got != nil {
			told = append(told, got)
		}
	}
	if len(told) != 4 { // after 2 s, and then every 5 s
		t.Fatalf("told %d times", len(told))
	}
	want := wire.Measured{At: told[1].At, RTTMS: 20, Loss: 0.02, BitrateKbps: 1000, TargetKbps: 4000, FPS: 30, Paints: 15,
		CaptureMS: 2, EncodeMS: 6, QueueMS: 4, InjectMS: 0.3, Encoder: "x264enc", Preset: "superfast"}
	if *told[1] != want {
		t.Errorf("measured %+v, want %+v", *told[1], want)
	}
	second(200*time.Millisecond, 30, 125_000)
	m.apart()
	at = at.Add(time.Hour)
	now.peer = PeerFigures{} // another connection counts from the start
	for range 3 {
		at = at.Add(time.Second)
		now.at = at
		now.peer.Pictures += 10
		m.add("s-1", "second", now, 0)
	}
	q := m.quality()
	// 20 s of 30 and 2 s of 10 pictures a second; the round trip of the second is not known.
	if q.DurationS != 22 || math.Abs(q.FPS-620.0/22) > 0.001 || math.Abs(q.RTTMS-(19*20+200)/20.0) > 0.001 || q.Loss != 0.02 || q.FrozenS != 1 {
		t.Errorf("quality %+v", q)
	}
	if q.RTTP95MS < 18 || q.RTTP95MS > 22 {
		t.Errorf("the p95 of 19 s of 20 ms and 1 s of 200 ms is %v ms", q.RTTP95MS)
	}
	m.add("s-2", "third", now, 0)
	if m.quality() != nil {
		t.Error("the next session has the quality of the one before")
	}
}

func TestRTTClasses(t *testing.T) {
	for _, rtt := range []time.Duration{time.Microsecond, 3 * time.Millisecond, 40 * time.Millisecond, time.Second, time.Minute} {
		got := shortRTT.Seconds() * math.Pow(rttStep, float64(rttClass(rtt))+0.5)
		if real := min(max(rtt, shortRTT), 6*time.Second).Seconds(); got < 0.9*real || got > 1.2*real {
			t.Errorf("%v is told as %.4f s", rtt, got)
		}
	}
}

// The record of a seat has what its session is like, with what the page says, and has nothing of
// it afterwards.
func TestMeasured(t *testing.T) {
	r := newRig(t).idle()
	conn, p, _ := r.play()
	report := wire.PageMeasured{FPS: 29, FrozenMS: 1e9, Concealed: 0.25}
	p.OnInput(wire.Input{Type: wire.InputPing, Report: &report})
	r.wait("figures", func() bool { m := r.seats.last().Measured; return m != nil && m.Page != nil })
	seat := r.seats.last()
	if m := seat.Measured; m.RTTMS != 20 || m.Width != 640 || m.Height != 480 || m.Encoder != "x264enc" || m.Page.FPS != 29 || m.Page.FrozenMS != 1000 {
		t.Errorf("measured %+v, page %+v", m, m.Page)
	}
	if q := seat.Quality; q == nil || q.RTTMS != 20 || q.DurationS < 1.5 || q.FrozenS > q.DurationS {
		t.Errorf("quality %+v", q)
	}
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
	if last := r.seats.last(); last.State != wire.SeatEnding || last.Quality == nil || last.Session == "" {
		t.Errorf("at the end the record has %+v, quality %+v", last, last.Quality)
	}
}

// While a session has the seat, each line of the log says which.
func TestSessionInLog(t *testing.T) {
	r := newRig(t).idle()
	conn, _, grant := r.play()
	r.send(conn, wire.Message{Type: wire.MsgLeave})
	r.waitEnd()
	during := false
	count := 0
	for _, text := range strings.Split(strings.TrimSpace(r.log.String()), "\n") {
		var line struct{ Msg, Session, Part, State string }
		if err := json.Unmarshal([]byte(text), &line); err != nil || line.Part != "seat" {
			t.Fatalf("%v: %s", err, text)
		}
		during = during || line.State == string(wire.SeatClaimed)
		if during {
			count++
		}
		if want := map[bool]string{true: grant.Session}[during]; line.Session != want {
			t.Errorf("the session is %q, not %q: %s", line.Session, want, text)
		}
	}
	if count < 5 {
		t.Errorf("%d lines during the session", count)
	}
}
