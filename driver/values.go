package driver

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
)

// A badValue is an error that names a field of a config and its allowed values.
type badValue struct {
	Field string // "display.fps"
	Value any
	Must  string // be: "a whole number from 1 to 120"
}

func (e *badValue) Error() string {
	if s, ok := e.Value.(string); ok {
		return fmt.Sprintf("%s = %q: must be %s", e.Field, s, e.Must)
	}
	return fmt.Sprintf("%s = %v: must be %s", e.Field, e.Value, e.Must)
}

// whole reads a whole number. Numbers in HCL may have a fraction.
func whole(field string, n float64, low, high int) (int, error) {
	if n != math.Trunc(n) || n < float64(low) || n > float64(high) {
		return 0, &badValue{field, n, fmt.Sprintf("a whole number from %d to %d", low, high)}
	}
	return int(n), nil
}

// seconds reads a duration such as "10m", and "0" where never is set. It rounds up
// to whole seconds, so that a short time does not become 0.
func seconds(field, text string, never bool, low, high time.Duration) (int, error) {
	must := fmt.Sprintf("a duration from %s to %s", short(low), short(high))
	if never {
		must += `, or "0" for none`
	}
	d, err := time.ParseDuration(text)
	if err == nil && d == 0 && never {
		return 0, nil
	}
	if err != nil || d < low || d > high {
		return 0, &badValue{field, text, must}
	}
	return int(math.Ceil(d.Seconds())), nil
}

// short is a duration without its zero parts: 8h, not 8h0m0s.
func short(d time.Duration) string {
	s := d.String()
	if strings.HasSuffix(s, "m0s") {
		s = strings.TrimSuffix(s, "0s")
	}
	if strings.HasSuffix(s, "h0m") {
		s = strings.TrimSuffix(s, "0m")
	}
	return s
}

const (
	minBitrate = 100_000
	maxBitrate = 100_000_000
)

// bitrate reads "8Mbps", "800kbps" or plain bits per second.
func bitrate(field, text string) (int, error) {
	bad := &badValue{field, text, `a rate from "100kbps" to "100Mbps", or a number of bits per second`}
	n, unit := splitUnit(text)
	factor, ok := map[string]float64{"": 1, "bps": 1, "kbps": 1e3, "mbps": 1e6}[strings.ToLower(unit)]
	if !ok {
		return 0, bad
	}
	v, err := decimal(n)
	if err != nil || !(v*factor >= minBitrate && v*factor <= maxBitrate) {
		return 0, bad
	}
	return int(math.Round(v * factor)), nil
}

// bytesize reads "20GiB", "500MB" or plain bytes.
func bytesize(field, text string) (int64, error) {
	bad := &badValue{field, text, `a size such as "20GiB" or "500MB", or "0" for no limit`}
	n, unit := splitUnit(text)
	factor, ok := map[string]float64{
		"": 1, "B": 1,
		"KB": 1e3, "MB": 1e6, "GB": 1e9, "TB": 1e12,
		"KiB": 1 << 10, "MiB": 1 << 20, "GiB": 1 << 30, "TiB": 1 << 40,
	}[unit]
	if !ok {
		return 0, bad
	}
	v, err := decimal(n)
	if err != nil || !(v >= 0 && v*factor < math.MaxInt64) {
		return 0, bad
	}
	return int64(v * factor), nil
}

func splitUnit(text string) (number, unit string) {
	text = strings.TrimSpace(text)
	end := strings.LastIndexAny(text, "0123456789.") + 1
	return text[:end], strings.TrimSpace(text[end:])
}

// decimal reads digits with or without a fraction: no sign, exponent or name.
func decimal(text string) (float64, error) {
	if strings.Trim(text, "0123456789.") != "" {
		return 0, strconv.ErrSyntax
	}
	return strconv.ParseFloat(text, 64)
}
