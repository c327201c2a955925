package seat

import (
	"math"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// PeerFigures are sums since a connection began, but for RTT and TargetBPS.
type PeerFigures struct {
	Pictures, Bytes uint64 // that were sent
	// Packets are those of which the browser has reported, and Lost those of them that did not
	// arrive at first.
	Packets, Lost uint64
	// Queue is the sum of what packets waited in the network, as each of Reports showed it.
	Reports uint64
	Queue   time.Duration
	// InputTime is the sum over all Inputs from the arrival to the app's display.
	Inputs    uint64
	InputTime time.Duration
	RTT       time.Duration // 0 while it is unknown
	TargetBPS int
}

// CaptureFigures are sums since the start of a capture.
type CaptureFigures struct {
	Pictures int // that were captured
	Changed  int // of them, those that differ from the one before
	// Capture is the time of the changed ones from the change to the copy, Encode that of the Encoded
	// ones from the copy to the end of the encoder.
	Capture         time.Duration
	Encoded         int
	Encode          time.Duration
	Encoder, Preset string
}

// figures are all of one moment.
type figures struct {
	at      time.Time
	peer    PeerFigures
	capture CaptureFigures
}

// meter makes what a session is like (wire.Measured, wire.Quality) of figures that it is given
// every measureEvery while the browser is connected. It is a pure computation.
type meter struct {
	session string
	of      any      // the connection that the figures are of
	from    figures  // where the Measured that comes next begins
	last    *figures // nil before the first of a connection
	next    time.Duration
	sum     sums
}

// sums are those of a whole session.
type sums struct {
	lasted        time.Duration
	pictures      uint64
	bytes         uint64
	packets, lost uint64
	rtt           time.Duration // times how long it was so, in seconds
	rttFor        time.Duration
	trips         [rttClasses]time.Duration // how long the round trip was in a class
	frozen        time.Duration
}

const (
	// firstMeasured is how long a new connection is measured before it is told of, and then
	// measuredOver each time.
	firstMeasured = 2 * time.Second
	measuredOver  = 5 * time.Second

	// Classes of round trips, each a tenth longer than the one before: 0.5 ms to 7 s.
	rttClasses = 100
	shortRTT   = 500 * time.Microsecond
	rttStep    = 1.1
)

// add takes the figures of a connection. frozen is for how long the picture stood still since the
// last call. It returns a Measured where it is time for one.
func (m *meter) add(session string, of any, now figures, frozen time.Duration) *wire.Measured {
	if m.session != session {
		*m = meter{session: session}
	}
	if m.of != of || m.last == nil {
		m.of, m.from, m.last, m.next = of, now, &now, firstMeasured
		return nil
	}
	m.sum.add(*m.last, now)
	m.sum.frozen += frozen
	m.last = &now
	if now.at.Sub(m.from.at) < m.next {
		return nil
	}
	out := measured(m.from, now)
	m.from, m.next = now, measuredOver
	return out
}

// apart says that the browser is not connected any more: what happens until it is again does not count.
func (m *meter) apart() { m.last = nil }

func (s *sums) add(was, now figures) {
	past := now.at.Sub(was.at)
	s.lasted += past
	s.pictures += now.peer.Pictures - was.peer.Pictures
	s.bytes += now.peer.Bytes - was.peer.Bytes
	s.packets += now.peer.Packets - was.peer.Packets
	s.lost += now.peer.Lost - was.peer.Lost
	if rtt := now.peer.RTT; rtt > 0 {
		s.rtt += time.Duration(float64(rtt) * past.Seconds())
		s.rttFor += past
		s.trips[rttClass(rtt)] += past
	}
}

func rttClass(rtt time.Duration) int {
	if rtt <= shortRTT {
		return 0
	}
	return min(int(math.Log(float64(rtt)/float64(shortRTT))/math.Log(rttStep)), rttClasses-1)
}

// quality is the session so far; nil before anything was measured.
func (m *meter) quality() *wire.Quality {
	s := m.sum
	if s.lasted <= 0 {
		return nil
	}
	lasted := s.lasted.Seconds()
	q := wire.Quality{
		DurationS: lasted, FrozenS: min(s.frozen.Seconds(), lasted), Loss: part(s.lost, s.packets),
		FPS: float64(s.pictures) / lasted, BitrateKbps: float64(s.bytes) * 8 / 1000 / lasted,
	}
	if s.rttFor > 0 {
		q.RTTMS = ms(s.rtt) / s.rttFor.Seconds()
		var until time.Duration
		for class, lasted := range s.trips {
			if until += lasted; float64(until) >= 0.95*float64(s.rttFor) {
				q.RTTP95MS = ms(shortRTT) * math.Pow(rttStep, float64(class)+0.5)
				break
			}
		}
	}
	return q.Bounded()
}

// measured is what happened between two looks.
func measured(was, now figures) *wire.Measured {
	past := now.at.Sub(was.at).Seconds()
	a, b := was.peer, now.peer
	c, d := was.capture, now.capture
	m := wire.Measured{
		At: now.at, RTTMS: ms(b.RTT), Loss: part(b.Lost-a.Lost, b.Packets-a.Packets),
		BitrateKbps: float64(b.Bytes-a.Bytes) * 8 / 1000 / past, TargetKbps: float64(b.TargetBPS) / 1000,
		FPS: float64(b.Pictures-a.Pictures) / past, Paints: float64(d.Changed-c.Changed) / past,
		CaptureMS: mean(d.Capture-c.Capture, d.Changed-c.Changed), EncodeMS: mean(d.Encode-c.Encode, d.Encoded-c.Encoded),
		QueueMS: mean(b.Queue-a.Queue, int(b.Reports-a.Reports)), InjectMS: mean(b.InputTime-a.InputTime, int(b.Inputs-a.Inputs)),
		Encoder: d.Encoder, Preset: d.Preset,
	}
	return m.Bounded(now.at)
}

func ms(d time.Duration) float64 { return float64(d) / float64(time.Millisecond) }

func mean(sum time.Duration, n int) float64 {
	if n <= 0 {
		return 0
	}
	return ms(sum) / float64(n)
}

func part(n, of uint64) float64 {
	if of == 0 {
		return 0
	}
	return float64(n) / float64(of)
}
