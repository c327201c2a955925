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
