package wire

import (
	"encoding/json"
	"math"
	"reflect"
	"strings"
	"testing"
	"time"
)

// Whatever a browser, a seat or a node says, the figures are those of some session.
func TestMeasuredBounded(t *testing.T) {
	now := time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)
	for _, bad := range []float64{math.Inf(1), math.Inf(-1), math.NaN(), 1e300, -5} {
		m := Measured{At: now.Add(time.Hour), Width: 1 << 40, Height: -3, Encoder: strings.Repeat("x", 1000), Preset: "a\nb", Page: &PageMeasured{}}
		q := Quality{}
		for _, v := range []reflect.Value{reflect.ValueOf(&m).Elem(), reflect.ValueOf(m.Page).Elem(), reflect.ValueOf(&q).Elem()} {
			for i := range v.NumField() {
				if v.Field(i).Kind() == reflect.Float64 {
					v.Field(i).SetFloat(bad)
				}
			}
		}
		got, quality := m.Bounded(now), q.Bounded()
		for _, v := range []reflect.Value{reflect.ValueOf(got).Elem(), reflect.ValueOf(got.Page).Elem(), reflect.ValueOf(quality).Elem()} {
			for i := range v.NumField() {
				if f := v.Field(i); f.Kind() == reflect.Float64 && !(f.Float() >= 0 && f.Float() <= maxMeasuredKbps) {
					t.Errorf("%s is %v of %v", v.Type().Field(i).Name, f.Float(), bad)
				}
			}
		}
		if got.Loss > 1 || got.Page.Concealed > 1 || got.Page.FrozenMS > 1000 || quality.Loss > 1 {
			t.Errorf("a share above 1: %+v %+v %+v", got, got.Page, quality)
		}
		if !got.At.Equal(now) || got.Width != maxMeasuredSide || got.Height != 0 || got.Encoder != "" || got.Preset != "" {
			t.Errorf("%+v", got)
		}
		text, err := json.Marshal(Seat{Measured: got, Quality: quality})
		if err != nil || len(text) > 1500 {
			t.Errorf("%d bytes, %v", len(text), err)
		}
	}
	good := Measured{At: now, RTTMS: 23.4567, Loss: 0.01, Encoder: "x264enc", Preset: "ultrafast", Width: 1280, Height: 720}
	if got := good.Bounded(now); *got != good {
		t.Errorf("changed: %+v", got)
	}
	if (*Measured)(nil).Bounded(now) != nil || (*PageMeasured)(nil).Bounded() != nil || (*Quality)(nil).Bounded() != nil {
		t.Error("nothing became something")
	}
}

// TestBrief: the short form that nodes tell is what it was, loses nothing, and brings nothing that
// cannot be.
func TestBrief(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 5, 678e6, time.UTC)
	full := Seat{Measured: &Measured{At: at, RTTMS: 1.5, Loss: 0.25, BitrateKbps: 3, TargetKbps: 4, FPS: 5, Paints: 6, CaptureMS: 7, EncodeMS: 8, QueueMS: 9, InjectMS: 10.0001,
		Encoder: "x264enc", Preset: "superfast", Width: 1280, Height: 720, Page: &PageMeasured{FPS: 11, Dropped: 12, FrozenMS: 13, DecodeMS: 14, BufferMS: 15, Concealed: 0.5}},
		Quality: &Quality{DurationS: 21, RTTMS: 22, RTTP95MS: 23, Loss: 0.75, FPS: 24, BitrateKbps: 25, FrozenS: 26}}
	bare, nothing, ended := full, Seat{}, full
	m := *full.Measured
	m.Encoder, m.Preset, m.Page = "", "", nil
	bare.Measured, bare.Quality, ended.Measured = &m, nil, nil
	for want, s := range map[string]Seat{
		"1767323045678 1.5 0.25 3 4 5 6 7 8 9 10.0001 1280 720 x264enc superfast;11 12 13 14 15 0.5;21 22 23 0.75 24 25 26": full,
		"1767323045678 1.5 0.25 3 4 5 6 7 8 9 10.0001 1280 720 - -;;":                                                       bare,
		";;21 22 23 0.75 24 25 26": ended,
		";;":                       nothing,
	} {
		text := s.Brief()
		if text != want {
			t.Errorf("%q, want %q", text, want)
		}
		later := strings.ReplaceAll(text, ";", " 99;") + " 98;97" // what a later release may say
		for i, text := range []string{text, later} {
			if i == 1 && (s.Measured != full.Measured || s.Quality == nil) {
				continue
			}
			m, q, err := ReadBrief(text, at)
			if err != nil || !reflect.DeepEqual(m, s.Measured) || !reflect.DeepEqual(q, s.Quality) {
				t.Errorf("%q is read as %+v %+v %v", text, m, q, err)
			}
		}
	}
	hostile, q, err := ReadBrief("1e300 NaN 7 Inf -Inf 1e9 -1 0 0 0 0 1e300 -5 x264\x00enc "+strings.Repeat("x", 500)+";Inf 0 1e9 0 0 9;1e300 0 0 2 0 0 -1", at)
	if err != nil || !hostile.At.Equal(at) || hostile.RTTMS != 0 || hostile.Loss != 1 || hostile.BitrateKbps != maxMeasuredKbps || hostile.TargetKbps != 0 || hostile.FPS != maxMeasuredRate ||
		hostile.Paints != 0 || hostile.Width != maxMeasuredSide || hostile.Height != 0 || hostile.Encoder != "" || hostile.Preset != "" || hostile.Page.FrozenMS != 1000 || hostile.Page.Concealed != 1 ||
		q.DurationS != maxMeasuredS || q.Loss != 1 || q.FrozenS != 0 {
		t.Errorf("%+v %+v %+v %v", hostile, hostile.Page, q, err)
	}
	for _, text := range []string{"", ";", "1 2 3;;", ";;1 2", "1 a 3 4 5 6 7 8 9 10 11 12 13 - -;;", ";;1 2 3 4 5 6 1e999", ";;" + strings.Repeat("1 ", maxBrief)} {
		if _, _, err := ReadBrief(text, at); err == nil {
			t.Errorf("%.40q is taken", text)
		}
	}
}
