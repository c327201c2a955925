package peer

import (
	"context"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/pion/webrtc/v4"

	"github.com/nearcast/nearcast/internal/wire"
)

// thinLine is an access line between a seat and a browser. Packets from the seat
// pass at a fixed rate, wait in a queue, and are dropped when the queue is full.
type thinLine struct {
	rate  int           // bits a second
	depth time.Duration // how long a packet may wait
	loss  float64       // of packets, at random

	near, far *net.UDPConn // what the browser sends to, and what the seat sends to
	queue     chan delivery

	mu     sync.Mutex
	free   time.Time // when the line has sent all that it holds
	seat   *net.UDPAddr
	page   *net.UDPAddr
	waits  []waiting
	passed int // bytes
}

type delivery struct {
	at     time.Time
	packet []byte
}

// waiting says how long one packet waited for those before it.
type waiting struct {
	at      time.Time
	waited  time.Duration
	dropped bool
}

// overhead is the size of the IP and UDP headers, which also use the line.
const overhead = 28

func newThinLine(t *testing.T, rate int, depth time.Duration, loss float64) *thinLine {
	t.Helper()
	l := &thinLine{rate: rate, depth: depth, loss: loss, queue: make(chan delivery, 10000)}
	for _, conn := range []**net.UDPConn{&l.near, &l.far} {
		var err error
		if *conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
	}
	var done sync.WaitGroup
	done.Go(l.fromPage)
	done.Go(func() { l.fromSeat(); close(l.queue) })
	done.Go(l.deliver)
	t.Cleanup(func() {
		l.near.Close()
		l.far.Close()
		done.Wait()
	})
	return l
}

func (l *thinLine) fromPage() {
	buf := make([]byte, 2048)
	for {
		n, from, err := l.near.ReadFromUDP(buf)
		if err != nil {
			return
		}
		l.mu.Lock()
		l.page = from
		seat := l.seat
		l.mu.Unlock()
		if seat != nil {
			l.far.WriteToUDP(buf[:n], seat)
		}
	}
}

func (l *thinLine) fromSeat() {
	buf := make([]byte, 2048)
	for {
		n, _, err := l.far.ReadFromUDP(buf)
		if err != nil {
			return
		}
		now := time.Now()
		l.mu.Lock()
		if l.free.Before(now) {
			l.free = now
		}
		w := waiting{at: now, waited: l.free.Sub(now)}
		w.dropped = w.waited > l.depth || rand.Float64() < l.loss
		l.waits = append(l.waits, w)
		if !w.dropped {
			l.passed += n + overhead
			l.free = l.free.Add(time.Duration((n + overhead) * 8 * int(time.Second) / l.rate))
			l.queue <- delivery{l.free, slices.Clone(buf[:n])}
		}
		l.mu.Unlock()
	}
}

func (l *thinLine) deliver() {
	timer := time.NewTimer(0)
	for d := range l.queue {
		if wait := time.Until(d.at); wait > 0 {
			timer.Reset(wait)
			<-timer.C
		}
		l.mu.Lock()
		page := l.page
		l.mu.Unlock()
		if page != nil {
			l.near.WriteToUDP(d.packet, page)
		}
	}
}

// join exchanges offer and answer so that both ends meet only by the line.
func (l *thinLine) join(t *testing.T, s *seat, c *client) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	var offer []string
	for line := range strings.SplitSeq(c.offer(t), "\r\n") {
		if !strings.HasPrefix(line, "a=candidate:") {
			offer = append(offer, line)
		}
	}
	answer, err := s.Answer(ctx, strings.Join(offer, "\r\n"))
	if err != nil {
		t.Fatal(err)
	}
	lines := strings.Split(answer, "\r\n")
	for i, line := range lines {
		f := strings.Fields(line)
		if !strings.HasPrefix(line, "a=candidate:") || f[4] != "127.0.0.1" {
			continue
		}
		l.mu.Lock()
		if l.seat, err = net.ResolveUDPAddr("udp4", f[4]+":"+f[5]); err != nil {
			t.Fatal(err)
		}
		l.mu.Unlock()
		f[5] = fmt.Sprint(l.near.LocalAddr().(*net.UDPAddr).Port)
		lines[i] = strings.Join(f, " ")
	}
	if err := c.pc.SetRemoteDescription(webrtc.SessionDescription{Type: webrtc.SDPTypeAnswer, SDP: strings.Join(lines, "\r\n")}); err != nil {
		t.Fatal(err)
	}
	s.reaches(t, Connected)
	wait(t, s.keyframes, "request of the first keyframe")
}

// play sends pictures for some time, as an encoder makes them at the bitrate that
// it is told.
func (s *seat) play(t *testing.T, bitrate *atomic.Int64, length time.Duration) {
	t.Helper()
	const fps = 30
	tick := time.NewTicker(time.Second / fps)
	defer tick.Stop()
	end := time.Now().Add(length)
	start := time.Now()
	for key := true; time.Now().Before(end); key = false {
		select {
		case <-s.keyframes:
			key = true
		default:
		}
		size := int(bitrate.Load()) / 8 / fps
		if key {
			size *= 3
		}
		size = size * (80 + rand.IntN(40)) / 100 // sizes differ
		if err := s.WriteVideo(Frame{Data: accessUnit(key, max(size, 50)), Keyframe: key, PTS: time.Since(start)}); err != nil {
			t.Fatal(err)
		}
		<-tick.C
	}
}

// TestThinLine checks the delay on lines that buffer for a second.
func TestThinLine(t *testing.T) {
	if testing.Short() {
		t.Skip("measures for 18 s")
	}
	const settle, measure = 10 * time.Second, 8 * time.Second
	for name, c := range map[string]struct {
		rate  int
		loss  float64
		p95   time.Duration // of the wait in the queue
		least float64       // part of the rate that is used; TestRateOn… ask for more, in simulated time
	}{
		"1 Mbit/s":               {1_000_000, 0, 150 * time.Millisecond, 0.4},
		"300 kbit/s":             {300_000, 0, 150 * time.Millisecond, 0.4},
		"10 Mbit/s, 1 % of loss": {10_000_000, 0.01, 150 * time.Millisecond, 0.2},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			var bitrate atomic.Int64
			bitrate.Store(6_000_000)
			l := newThinLine(t, c.rate, time.Second, c.loss)
			s := newSeat(t, func(cfg *Config) {
				cfg.Listen = wire.Listen{Media: "127.0.0.1", Loopback: true}
				cfg.MaxBitrateBPS = int(bitrate.Load())
				cfg.OnBitrate = func(bps int) { bitrate.Store(int64(bps)) }
			})
			cl := newClient(t)
			l.join(t, s, cl)
			s.play(t, &bitrate, settle)
			l.mu.Lock()
			l.waits, l.passed = nil, 0
			l.mu.Unlock()
			s.play(t, &bitrate, measure)
			l.mu.Lock()
			defer l.mu.Unlock()
			var waits []time.Duration
			dropped := 0
			for _, w := range l.waits {
				if w.dropped {
					dropped++
				} else {
					waits = append(waits, w.waited)
				}
			}
			slices.Sort(waits)
			p50, p95 := waits[len(waits)/2], waits[len(waits)*95/100]
			used := float64(l.passed*8) / measure.Seconds() / float64(c.rate)
			t.Logf("wait p50 %v, p95 %v, max %v; %d of %d packets dropped; %.0f %% of the line used; bitrate %d",
				p50, p95, waits[len(waits)-1], dropped, len(l.waits), 100*used, bitrate.Load())
			if p95 > c.p95 {
				t.Errorf("packets wait %v (p95) in the line's queue, want at most %v", p95, c.p95)
			}
			if used < c.least {
				t.Errorf("only %.0f %% of the line is used, want %.0f %%", 100*used, 100*c.least)
			}
		})
	}
}
