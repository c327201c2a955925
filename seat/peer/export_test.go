package peer

import "time"

// Moment says which moment an RTP timestamp of a track means.
type Moment struct {
	At        time.Time
	Timestamp uint32
	Rate      float64 // of timestamps a second
}

// Moments are those of the picture and of the sound, as sender reports tell them.
func (p *Peer) Moments() (picture, sound Moment) {
	of := func(t *track) Moment {
		t.mu.Lock()
		defer t.mu.Unlock()
		return Moment{t.latest, t.timestamp, float64(capabilities[t.codec].ClockRate)}
	}
	return of(p.video), of(p.audio)
}
