package router

import (
	"encoding/json"
	"math"
	"strconv"
	"time"
	"unicode/utf8"

	"github.com/nearcast/nearcast/internal/wire"
)

// The answer to a launch names every site. With 200 sites, encoding/json makes a
// launch take 1.4 × the processor time (1.2 × if all sites were measured). So the
// answer is encoded by hand; TestAppendLaunch compares the result with that of
// encoding/json.

// appendLaunch appends a launch's answer as JSON.
func appendLaunch(b []byte, r *wire.LaunchResponse) []byte {
	b = text(append(b, `{"session":`...), r.Session)
	b = text(append(b, `,"app":`...), r.App)
	b = strconv.AppendUint(append(b, `,"version":`...), r.Version, 10)
	b = text(append(b, `,"ticket":`...), r.Ticket)
	b = append(r.Expires.AppendFormat(append(b, `,"expires":"`...), time.RFC3339Nano), '"')
	b = text(append(b, `,"site":`...), r.Site)
	b = text(append(b, `,"brain_url":`...), r.BrainURL)
	if len(r.SpareBrainURLs) > 0 {
		b = append(b, `,"spare_brain_urls":[`...)
		for i, u := range r.SpareBrainURLs {
			b = text(comma(b, i), u)
		}
		b = append(b, ']')
	}
	b = append(b, `,"ice_servers":[`...)
	for i := range r.ICEServers {
		b = iceServer(comma(b, i), &r.ICEServers[i])
	}
	b = decimal(append(b, `],"predicted_rtt_ms":`...), r.PredictedRTTMS)
	b = text(append(b, `,"rtt_source":`...), string(r.RTTSource))
	b = append(b, `,"candidates":[`...)
	for i := range r.Candidates {
		b = candidate(comma(b, i), &r.Candidates[i])
	}
	return append(b, "]}\n"...)
}

func candidate(b []byte, c *wire.Candidate) []byte {
	b = text(append(b, `{"site":`...), c.Site)
	if c.BrainURL != "" {
		b = text(append(b, `,"brain_url":`...), c.BrainURL)
	}
	b = decimal(append(b, `,"rtt_ms":`...), c.RTTMS)
	b = text(append(b, `,"rtt_source":`...), string(c.RTTSource))
	if c.RTTErrorMS != 0 {
		b = decimal(append(b, `,"rtt_error_ms":`...), c.RTTErrorMS)
	}
	b = decimal(append(b, `,"wait_ms":`...), c.WaitMS)
	b = decimal(append(b, `,"load_ms":`...), c.LoadMS)
	b = decimal(append(b, `,"score":`...), c.Score)
	if c.Excluded != "" {
		b = text(append(b, `,"excluded":`...), c.Excluded)
	}
	b = text(append(b, `,"reason":`...), c.Reason)
	return append(b, '}')
}

func iceServer(b []byte, s *wire.ICEServer) []byte {
	b = append(b, `{"urls":[`...)
	for i, u := range s.URLs {
		b = text(comma(b, i), u)
	}
	b = append(b, ']')
	if s.Username != "" {
		b = text(append(b, `,"username":`...), s.Username)
	}
	if s.Credential != "" {
		b = text(append(b, `,"credential":`...), s.Credential)
	}
	return append(b, '}')
}

// comma separates the i-th of a list from the one before.
func comma(b []byte, i int) []byte {
	if i > 0 {
		b = append(b, ',')
	}
	return b
}

// plain are the bytes that need no escape in a JSON string. 0xE2 may begin one of
// two line separators that do.
var plain = func() (is [256]bool) {
	for c := ' '; c < 256; c++ {
		is[c] = c != '"' && c != '\\' && c != '<' && c != '>' && c != '&' && c != 0xE2
	}
	return is
}()

// text appends a string. Nearly all are plain; encoding/json writes the rest.
func text(b []byte, s string) []byte {
	for i := range len(s) {
		if !plain[s[i]] {
			return quoted(b, s)
		}
	}
	if !utf8.ValidString(s) {
		return quoted(b, s)
	}
	b = append(b, '"')
	b = append(b, s...)
	return append(b, '"')
}

func quoted(b []byte, s string) []byte {
	text, _ := json.Marshal(s) // of a string: cannot fail
	return append(b, text...)
}

// decimal appends a number. Nearly all have at most two decimals, and are written
// as whole hundredths; strconv would have to search for the shortest text.
func decimal(b []byte, v float64) []byte {
	if hundredths := math.Round(v * 100); hundredths >= 0 && hundredths < 1e12 && hundredths/100 == v && !math.Signbit(v) {
		whole, rest := uint64(hundredths)/100, uint64(hundredths)%100
		b = strconv.AppendUint(b, whole, 10)
		switch {
		case rest == 0:
			return b
		case rest%10 == 0:
			return append(b, '.', byte('0'+rest/10))
		}
		return append(b, '.', byte('0'+rest/10), byte('0'+rest%10))
	}
	if abs := math.Abs(v); abs != 0 && (abs < 1e-6 || abs >= 1e21) || math.IsNaN(v) {
		number, err := json.Marshal(v)
		if err != nil { // NaN: placement gives none
			return append(b, '0')
		}
		return append(b, number...)
	}
	return strconv.AppendFloat(b, v, 'f', -1, 64)
}
