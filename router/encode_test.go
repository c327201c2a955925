package router

import (
	"encoding/json"
	"math"
	"math/rand/v2"
	"reflect"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// vary sets every field to a value made from s and v, and lists to n items.
func vary(x reflect.Value, s string, v float64, n int) {
	switch x.Kind() {
	case reflect.String:
		x.SetString(s)
	case reflect.Float64:
		x.SetFloat(v)
	case reflect.Uint64:
		x.SetUint(uint64(n) << 60)
	case reflect.Slice:
		x.Set(reflect.MakeSlice(x.Type(), n, n))
		for i := range n {
			vary(x.Index(i), s, v, n)
		}
	case reflect.Struct:
		if x.Type() == reflect.TypeFor[time.Time]() {
			x.Set(reflect.ValueOf(time.Date(2026, 1, 2, 3, 4, 5, n*1000, time.UTC)))
			return
		}
		for i := range x.NumField() {
			vary(x.Field(i), s, v, n)
		}
	default:
		panic("vary does not know " + x.Type().String())
	}
}

// TestAppendLaunch compares the encoder with encoding/json. It fails for a field
// of the answer that the encoder does not write.
func TestAppendLaunch(t *testing.T) {
	for _, s := range []string{"", "plain", "<a href=\"x\">&amp;</a>", "tab\tand\x00null", "größer ± 5 ms", "\xff broken \u2028", `back\slash`} {
		for _, v := range []float64{0, 1, -1.5, 14.2, 0.1 + 0.2, 1e-7, 123456789.125, 1e21, 5e-324, math.Copysign(0, -1), 0.01, 0.07, 1.005, 8.1, 999999999999.99} {
			for n := range 3 {
				var out wire.LaunchResponse
				vary(reflect.ValueOf(&out).Elem(), s, v, n)
				want, err := json.Marshal(out)
				if err != nil {
					t.Fatal(err)
				}
				if got := appendLaunch(nil, &out); string(got) != string(want)+"\n" {
					t.Errorf("%q, %v, %d:\n%s\nwant\n%s", s, v, n, got, want)
				}
			}
		}
	}
}

// TestDecimal compares numbers of few decimals with encoding/json.
func TestDecimal(t *testing.T) {
	random := rand.New(rand.NewPCG(1, 2))
	for i := range 100_000 {
		v := float64(random.IntN(1_000_000_000)) / math.Pow10(i%5)
		want, _ := json.Marshal(v)
		if got := decimal(nil, v); string(got) != string(want) {
			t.Fatalf("%s, want %s", got, want)
		}
	}
}
