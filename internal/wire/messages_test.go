package wire

import (
	"encoding/json"
	"strings"
	"testing"
)

// What no honest end sends is refused, and what it sends is read.
func TestMessageFrames(t *testing.T) {
	for text, want := range map[string]bool{
		`{"t":"hello","page":"p","got":7}`:                    true,
		`{"t":"hello"}`:                                       true,
		`{"t":"message","seq":1,"size":262144}`:               true,
		`{"t":"message","seq":1,"bytes":true}`:                true,
		`{"t":"ack","chunks":5}`:                              true,
		`{"t":"ack","chunks":5,"more":"of a later version"}`:  true,
		`{"t":"message","seq":1}`:                             false, // empty JSON
		`{"t":"message","size":5}`:                            false, // no number
		`{"t":"message","seq":1,"size":262145}`:               false,
		`{"t":"message","seq":1,"size":-1}`:                   false,
		`{"t":"message","seq":-1,"size":1}`:                   false,
		`{"t":"message","seq":18446744073709551616,"size":1}`: false,
		`{"t":"other"}`:                                       false,
		`{}`:                                                  false,
		`[]`:                                                  false,
		`{"t":"hello","page":"` + strings.Repeat("p", maxPageID) + `"}`:         true,
		`{"t":"hello","page":"` + strings.Repeat("p", maxPageID+1) + `"}`:       false,
		`{"t":"hello"` + strings.Repeat(" ", maxMessageFrame) + `}`:             false,
		`{"t":"message","seq":1,"size":9,"bytes":true,"page":"` + "\xff" + `"}`: true,
	} {
		if _, err := ParseMessageFrame([]byte(text)); (err == nil) != want {
			t.Errorf("%.80s: %v", text, err)
		}
	}
}

func FuzzMessageFrame(f *testing.F) {
	for _, text := range []string{`{"t":"hello","page":"p","got":7}`, `{"t":"message","seq":1,"size":9,"bytes":true}`, `{"t":"ack","seq":1,"chunks":5}`, `{`} {
		f.Add([]byte(text))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		frame, err := ParseMessageFrame(data)
		if err != nil {
			if frame != (MessageFrame{}) {
				t.Fatalf("%q gives %+v and %v", data, frame, err)
			}
			return
		}
		if frame.Size < 0 || frame.Size > MaxAppMessage || len(frame.Page) > maxPageID || frame.Type == FrameMessage && frame.Seq == 0 {
			t.Fatalf("%q gives %+v", data, frame)
		}
		raw, err := json.Marshal(frame)
		if err != nil {
			t.Fatal(err)
		}
		// A name may grow where it has characters that JSON writes as six.
		if back, err := ParseMessageFrame(raw); err == nil && back != frame {
			t.Fatalf("%+v comes back as %+v", frame, back)
		}
	})
}
