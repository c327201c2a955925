package wire

import (
	"math"
	"reflect"
	"slices"
	"time"
)

// What nobody measures. What a browser, a seat or a node says is cut to it, so that one of them that
// was taken over can neither break what sums figures up nor fill it.
const (
	maxMeasuredMS   = 60_000
	maxMeasuredKbps = 10_000_000
	maxMeasuredRate = 1000 // a second
	maxMeasuredSide = 16384
	maxMeasuredS    = 31 * 24 * 3600
	maxMeasuredName = 32
)

// Bounded is a copy in which each figure is one that can be. nil stays nil.
func (m *Measured) Bounded(now time.Time) *Measured {
	if m == nil {
		return nil
	}
	out := *m
	if out.At.After(now) {
		out.At = now
	}
	out.At = out.At.UTC().Truncate(time.Millisecond)
	for _, ms := range []*float64{&out.RTTMS, &out.CaptureMS, &out.EncodeMS, &out.QueueMS, &out.InjectMS} {
		*ms = within(*ms, maxMeasuredMS)
	}
	out.Loss = within(out.Loss, 1)
	out.BitrateKbps, out.TargetKbps = within(out.BitrateKbps, maxMeasuredKbps), within(out.TargetKbps, maxMeasuredKbps)
	out.FPS, out.Paints = within(out.FPS, maxMeasuredRate), within(out.Paints, maxMeasuredRate)
	out.Width, out.Height = min(max(out.Width, 0), maxMeasuredSide), min(max(out.Height, 0), maxMeasuredSide)
	out.Encoder, out.Preset = word(out.Encoder), word(out.Preset)
	out.Page = out.Page.Bounded()
	return &out
}

// Bounded is as that of Measured.
func (p *PageMeasured) Bounded() *PageMeasured {
	if p == nil {
		return nil
	}
	return &PageMeasured{
		FPS: within(p.FPS, maxMeasuredRate), Dropped: within(p.Dropped, maxMeasuredRate),
		FrozenMS: within(p.FrozenMS, 1000), DecodeMS: within(p.DecodeMS, maxMeasuredMS), BufferMS: within(p.BufferMS, maxMeasuredMS),
		Concealed: within(p.Concealed, 1),
	}
}

// Bounded is as that of Measured.
func (q *Quality) Bounded() *Quality {
	if q == nil {
		return nil
	}
	return &Quality{
		DurationS: within(q.DurationS, maxMeasuredS), FrozenS: within(q.FrozenS, maxMeasuredS),
		RTTMS: within(q.RTTMS, maxMeasuredMS), RTTP95MS: within(q.RTTP95MS, maxMeasuredMS), Loss: within(q.Loss, 1),
		FPS: within(q.FPS, maxMeasuredRate), BitrateKbps: within(q.BitrateKbps, maxMeasuredKbps),
	}
}

// OnlyMeasured reports whether two records of a seat differ in what was measured alone.
func OnlyMeasured(a, b Seat) bool {
	changed := a.Measured != b.Measured || a.Quality != b.Quality
	if !changed || !a.Since.Equal(b.Since) || !a.Until.Equal(b.Until) {
		return false
	}
	for _, s := range []*Seat{&a, &b} {
		s.Measured, s.Quality, s.Since, s.Until = nil, nil, time.Time{}, time.Time{}
	}
	return reflect.DeepEqual(a, b)
}

// within is a figure of 0 to most, with four digits after the point at most: more only cost bytes.
func within(x, most float64) float64 {
	if math.IsNaN(x) {
		return 0
	}
	return math.Round(min(max(x, 0), most)*1e4) / 1e4
}

// word is a name as encoders have, else empty.
func word(s string) string {
	if len(s) > maxMeasuredName || slices.ContainsFunc([]byte(s), func(c byte) bool {
		return (c < 'a' || c > 'z') && (c < 'A' || c > 'Z') && (c < '0' || c > '9') && c != '-' && c != '_'
	}) {
		return ""
	}
	return s
}
