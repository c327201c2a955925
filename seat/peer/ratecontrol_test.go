package peer

import (
	"math/rand/v2"
	"slices"
	"testing"
	"time"

	"github.com/pion/rtp"
)

// line is a simulated access line, in simulated time.
type line struct {
	control *rateControl
	rng     *rand.Rand

	rate   func(at time.Duration) float64       // bits a second
	way    func(at time.Duration) time.Duration // delay without a queue
	depth  time.Duration
	loss   float64
	demand float64 // the most that the encoder sends; 0 is the target
	fps    int
	// police drops packets, without a queue. repeats: what is lost is sent again after a round
	// trip, once.
	police  func(at time.Duration, size int) bool
	repeats bool
	pending []ack // to be sent again

	now     time.Duration
	free    time.Duration
	flying  []ack
	next    time.Duration // report
	waits   []time.Duration
	bits    float64
	targets []float64

	packets, gone int // without what was sent again
	sentBits      float64
}

const clockOffset = 1000 * time.Hour // of the browser's clock

func newLine(max int, rate float64) *line {
	return &line{control: newRateControl(max), rng: rand.New(rand.NewPCG(1, 2)), depth: time.Second, fps: 30,
		rate: func(time.Duration) float64 { return rate },
		way:  func(time.Duration) time.Duration { return 20 * time.Millisecond }}
}

// run simulates some time, and forgets what was measured before.
func (l *line) run(length time.Duration) *line {
	l.waits, l.bits, l.targets = nil, 0, nil
	l.packets, l.gone, l.sentBits = 0, 0, 0
	for end := l.now + length; l.now < end; l.now += time.Second / time.Duration(l.fps) {
		bps := l.control.target
		if l.demand > 0 {
			bps = min(bps, l.demand)
		}
		size := int(bps/8/float64(l.fps)*(0.8+0.4*l.rng.Float64())) + 1
		at := l.now
		for ; len(l.pending) > 0 && l.pending[0].arrived <= l.now; l.pending = l.pending[1:] {
			l.send(at, l.pending[0].size, true)
			at += 20 * time.Microsecond
		}
		for ; size > 0; size -= payloadSize {
			l.send(at, min(size, payloadSize)+20, false)
			at += 20 * time.Microsecond
		}
		if l.now >= l.next {
			l.report()
			l.next = l.now + 100*time.Millisecond
		}
		l.targets = append(l.targets, l.control.target)
	}
	return l
}

// opened sends a session's first picture, and goes on for a second.
func (l *line) opened() *line {
	for range 20 {
		l.send(l.now, payloadSize, false)
	}
	return l.run(time.Second)
}

func (l *line) send(at time.Duration, size int, again bool) {
	l.free = max(l.free, at)
	a := ack{sent: at, size: size, again: again}
	l.sentBits += float64(8 * size)
	if l.free-at > l.depth || l.rng.Float64() < l.loss || l.police != nil && l.police(at, size) {
		a.lost = true
		a.arrived = l.free + l.way(at)
		if l.repeats && !again {
			l.pending = append(l.pending, ack{size: size, arrived: at + 3*l.way(at)})
		}
	} else {
		l.waits = append(l.waits, l.free-at)
		l.bits += float64(8 * size)
		l.free += time.Duration(float64(8*(size+40)) / l.rate(at) * float64(time.Second))
		a.arrived = l.free + l.way(at)
	}
	if !again {
		l.packets++
		if a.lost {
			l.gone++
		}
	}
	l.flying = append(l.flying, a)
}

func (l *line) lost() float64 { return float64(l.gone) / float64(max(l.packets, 1)) }

func (l *line) report() {
	var acks []ack
	for len(l.flying) > 0 && l.flying[0].arrived+l.way(l.now) <= l.now {
		a := l.flying[0]
		a.arrived += clockOffset
		acks = append(acks, a)
		l.flying = l.flying[1:]
	}
	if len(acks) > 0 {
		l.control.report(l.now, acks, fatesOf(acks))
	}
}

// fatesOf is what became of packets, known at once.
func fatesOf(acks []ack) (all []fate) {
	for _, a := range acks {
		if !a.again {
			all = append(all, fate{a.sent, a.lost})
		}
	}
	return all
}

func (l *line) p95() time.Duration {
	waits := slices.Sorted(slices.Values(l.waits))
	return waits[len(waits)*95/100]
}

func (l *line) used(length time.Duration, rate float64) float64 {
	return l.bits / length.Seconds() / rate
}

func TestRateOnThinLines(t *testing.T) {
	const max = 6_000_000
	for _, rate := range []float64{200_000, 300_000, 1_000_000, 3_000_000, 5_000_000} {
		l := newLine(max, rate)
		l.run(10 * time.Second)
		const measure = 60 * time.Second
		l.run(measure)
		if p95, used := l.p95(), l.used(measure, rate); p95 > 120*time.Millisecond || used < 0.7 {
			t.Errorf("%.1f Mbit/s: waits %v (p95), uses %.0f %%", rate/1e6, p95, 100*used)
		} else {
			t.Logf("%.1f Mbit/s: waits %v (p95), uses %.0f %%", rate/1e6, p95, 100*used)
		}
	}
}

func TestRateOnWideLines(t *testing.T) {
	const max = 6_000_000
	for name, change := range map[string]func(*line){
		"nothing special": func(*line) {},
		"1 % of loss":     func(l *line) { l.loss = 0.01 },
		"jitter": func(l *line) {
			l.way = func(time.Duration) time.Duration {
				return 20*time.Millisecond + time.Duration(l.rng.IntN(30))*time.Millisecond
			}
		},
		"5 % of loss": func(l *line) { l.loss = 0.05 },
		"5 % of loss, and jitter of 40 ms": func(l *line) {
			l.loss = 0.05
			l.way = func(time.Duration) time.Duration {
				return 20*time.Millisecond + time.Duration(l.rng.IntN(40))*time.Millisecond
			}
		},
		"a still picture": func(l *line) { l.demand, l.fps = 50_000, 2 },
		"late packets of a still picture": func(l *line) {
			l.demand, l.fps = 20_000, 1
			l.way = func(at time.Duration) time.Duration {
				if l.rng.IntN(4) == 0 {
					return 300 * time.Millisecond
				}
				return 20 * time.Millisecond
			}
		},
		"a radio that stalls": func(l *line) {
			l.way = func(at time.Duration) time.Duration {
				if into := at % (3 * time.Second); into < 150*time.Millisecond {
					return 20*time.Millisecond + 150*time.Millisecond - into // all at once, at the end
				}
				return 20 * time.Millisecond
			}
		},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLine(max, 20_000_000)
			change(l)
			l.opened()
			l.run(60 * time.Second)
			lowest := slices.Min(l.targets)
			t.Logf("lowest %.1f Mbit/s", lowest/1e6)
			if lowest < 0.8*max {
				t.Errorf("the rate fell to %.1f of %d Mbit/s", lowest/1e6, max/1_000_000)
			}
		})
	}
}

// TestRateWhenTheLineFalls has a line of 20 Mbit/s fall to 2, and come back.
func TestRateWhenTheLineFalls(t *testing.T) {
	for _, max := range []int{6_000_000, 12_000_000} {
		const fall, back = 20 * time.Second, 40 * time.Second
		l := newLine(max, 0)
		l.rate = func(at time.Duration) float64 {
			if at >= fall && at < back {
				return 2_000_000
			}
			return 20_000_000
		}
		l.run(fall)
		var peak, last time.Duration
		for l.now < back {
			l.run(100 * time.Millisecond)
			for _, w := range l.waits {
				peak = maxOf(peak, w)
				if w > 100*time.Millisecond && l.now < fall+6*time.Second {
					last = l.now - fall
				}
			}
		}
		used := l.control.target
		for l.control.target < 0.8*float64(max) && l.now < back+20*time.Second {
			l.run(100 * time.Millisecond)
		}
		recovered := l.now - back
		t.Logf("%d: peak %v, last above 100 ms after %v, target %.0f, 80 %% back after %v", max, peak, last, used, recovered)
		if last > 2*time.Second || max < 10_000_000 && peak > 800*time.Millisecond {
			t.Errorf("%d: the queue is above 100 ms until %v, with a peak of %v", max, last, peak)
		}
		if recovered > 8*time.Second {
			t.Errorf("%d: 80 %% are back after %v", max, recovered)
		}
	}
}

// A little more than the line carries adds to the queue until it is long: a queue that is
// neither short nor long already lowers the rate.
func TestQueueEases(t *testing.T) {
	l := newLine(6_000_000, 2_000_000)
	l.run(time.Second)
	l.run(3 * time.Second)
	l.control.target, l.control.filled, l.control.filledAt = 2_040_000, 2_000_000, l.now
	l.free = l.now + 30*time.Millisecond
	l.run(2 * time.Second)
	slices.Sort(l.waits)
	if p95 := l.waits[len(l.waits)*95/100]; p95 > 100*time.Millisecond {
		t.Errorf("the p95 of the wait is %v", p95)
	}
}

// The way of a line that was full becomes 30 ms longer: that is no queue of ours, and lowers the
// rate no further than what the line carries.
func TestLongerWayIsNoQueue(t *testing.T) {
	l := newLine(6_000_000, 4_000_000)
	l.run(3 * time.Second)
	l.control.target, l.control.filled, l.control.filledAt = 2_000_000, 2_000_000, l.now
	l.way = func(time.Duration) time.Duration { return 50 * time.Millisecond }
	l.run(12 * time.Second)
	if least := slices.Min(l.targets); least < 0.84*2_000_000 {
		t.Errorf("the target fell to %.0f", least)
	}
}

// Packets that come late but together waited for a processor. Those that come one by one
// waited for the line.
func TestWaitingForAProcessorIsNoCongestion(t *testing.T) {
	const max = 6_000_000
	for name, apart := range map[string]time.Duration{"together": 0, "one by one": 5 * time.Millisecond} {
		c := newRateControl(max)
		var line time.Duration // when it is free
		number := 0
		for now := time.Second; now < 4*time.Second; now += 100 * time.Millisecond {
			var acks []ack
			for frame := range 3 {
				for i := range 20 {
					number++
					sent := now + time.Duration(frame)*33*time.Millisecond + time.Duration(i)*50*time.Microsecond
					arrived := sent + 20*time.Millisecond
					if now > 2*time.Second && apart == 0 { // until the end of the report
						arrived = now + 180*time.Millisecond + time.Duration(frame*20+i)*50*time.Microsecond
					} else if now > 2*time.Second {
						line = maxOf(line+apart, arrived)
						arrived = line
					}
					acks = append(acks, ack{sent: sent, arrived: clockOffset + arrived, size: 1200})
				}
			}
			c.report(now+200*time.Millisecond, acks, fatesOf(acks))
		}
		t.Logf("%s: %.1f Mbit/s", name, c.target/1e6)
		if apart == 0 && c.target < 0.8*max {
			t.Errorf("packets that come late together lower the bitrate to %.1f Mbit/s", c.target/1e6)
		}
		if apart > 0 && c.target > 0.5*max {
			t.Errorf("packets that come late one by one leave the bitrate at %.1f Mbit/s", c.target/1e6)
		}
	}
}

func maxOf(a, b time.Duration) time.Duration { return max(a, b) }

// A report of loss that comes late must not fill the queue again.
func TestStaleIsNotSentAgain(t *testing.T) {
	e := newEstimator(1_000_000, func(int) {})
	e.start = e.start.Add(-time.Minute)
	s := newStream(1, e.control.max)
	var number uint16
	send := func(ssrc uint32, own uint16, payload []byte) bool {
		number++
		return e.send(s, number, &rtp.Header{SSRC: ssrc, SequenceNumber: own}, payload) > 0
	}
	for own := uint16(65530); own != 10; own++ { // over the wrap
		if !send(1, own, make([]byte, 1000)) {
			t.Fatalf("%d was held back", own)
		}
	}
	if !send(1, 65535, nil) || !send(2, 77, []byte{0, 3, 1}) {
		t.Error("a recent packet is not sent again")
	}
	s.of(65535).at -= 2 * staleAfter
	s.of(3).at -= 2 * staleAfter
	if send(1, 65535, nil) || send(2, 77, []byte{0, 3, 1}) {
		t.Error("a stale packet is sent again")
	}
	if send(1, 65000, nil) {
		t.Error("a packet that is not in the history is sent again")
	}
	if s.newest != 9 {
		t.Errorf("newest is %d", s.newest)
	}
}
