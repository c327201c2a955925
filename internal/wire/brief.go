package wire

import (
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"
)

// Brief is what a seat measured as a short text, for brains that know the rest of its record. It is
// most of what nodes tell, and some 150 characters:
//
//	1767323045000 23.4 0.0012 3456.7 8000 29.8 27.2 2.3 6.8 2.1 0.41 1280 720 x264enc superfast;29.7 0 1.2 4.1 21 0.001;1234.5 …
//
// The fields of Measured but for Page, of PageMeasured and of Quality stand in their order, At in
// milliseconds. A part of which there is nothing is empty, and an empty name is "-". A later release
// may add fields to the end of a part, and parts.
func (s Seat) Brief() string {
	out := make([]byte, 0, 256)
	if m := s.Measured; m != nil {
		out = strconv.AppendInt(out, m.At.UnixMilli(), 10)
		out = figures(out, m.RTTMS, m.Loss, m.BitrateKbps, m.TargetKbps, m.FPS, m.Paints, m.CaptureMS, m.EncodeMS, m.QueueMS, m.InjectMS, float64(m.Width), float64(m.Height))
		for _, name := range []string{m.Encoder, m.Preset} {
			out = append(out, ' ')
			if name = word(name); name == "" {
				name = "-"
			}
			out = append(out, name...)
		}
	}
	out = append(out, ';')
	if s.Measured != nil && s.Measured.Page != nil {
		p := s.Measured.Page
		out = figures(out, p.FPS, p.Dropped, p.FrozenMS, p.DecodeMS, p.BufferMS, p.Concealed)
	}
	out = append(out, ';')
	if q := s.Quality; q != nil {
		out = figures(out, q.DurationS, q.RTTMS, q.RTTP95MS, q.Loss, q.FPS, q.BitrateKbps, q.FrozenS)
	}
	return string(out)
}

func figures(out []byte, all ...float64) []byte {
	for _, x := range all {
		if n := len(out); n > 0 && out[n-1] != ';' {
			out = append(out, ' ')
		}
		out = strconv.AppendFloat(out, x, 'f', -1, 64)
	}
	return out
}

// maxBrief is how long a Brief may be.
const maxBrief = 1024

// ReadBrief is the opposite of Brief. What it gives is bounded.
func ReadBrief(text string, now time.Time) (*Measured, *Quality, error) {
	if len(text) > maxBrief {
		return nil, nil, errors.New("what a seat measured is too long")
	}
	measured, rest, _ := strings.Cut(text, ";")
	page, rest, ok := strings.Cut(rest, ";")
	if !ok {
		return nil, nil, errors.New("what a seat measured lacks a part")
	}
	quality, _, _ := strings.Cut(rest, ";")
	var (
		m *Measured
		q *Quality
	)
	if measured != "" {
		m = &Measured{}
		var at, width, height float64
		left, err := read(measured, &at, &m.RTTMS, &m.Loss, &m.BitrateKbps, &m.TargetKbps, &m.FPS, &m.Paints, &m.CaptureMS, &m.EncodeMS, &m.QueueMS, &m.InjectMS, &width, &height)
		if err != nil {
			return nil, nil, err
		}
		encoder, left, _ := strings.Cut(left, " ")
		preset, _, _ := strings.Cut(left, " ")
		m.At = time.UnixMilli(int64(within(at, maxAt)))
		m.Width, m.Height = int(within(width, maxMeasuredSide)), int(within(height, maxMeasuredSide))
		m.Encoder, m.Preset = strings.TrimPrefix(encoder, "-"), strings.TrimPrefix(preset, "-")
		if page != "" {
			p := &PageMeasured{}
			if _, err := read(page, &p.FPS, &p.Dropped, &p.FrozenMS, &p.DecodeMS, &p.BufferMS, &p.Concealed); err != nil {
				return nil, nil, err
			}
			m.Page = p
		}
	}
	if quality != "" {
		q = &Quality{}
		if _, err := read(quality, &q.DurationS, &q.RTTMS, &q.RTTP95MS, &q.Loss, &q.FPS, &q.BitrateKbps, &q.FrozenS); err != nil {
			return nil, nil, err
		}
	}
	return m.Bounded(now), q.Bounded(), nil
}

// maxAt is the year 9999, in milliseconds.
const maxAt = 253_402_300_799_000

// read reads figures, and gives what is left of the text.
func read(text string, into ...*float64) (left string, err error) {
	for _, x := range into {
		var figure string
		figure, text, _ = strings.Cut(text, " ")
		if *x, err = strconv.ParseFloat(figure, 64); err != nil {
			return "", fmt.Errorf("what a seat measured has %.20q where a figure belongs", figure)
		}
	}
	return text, nil
}
