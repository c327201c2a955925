package x11

import (
	"bytes"
	"errors"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

const (
	randrOpcode = 200
	randrError  = 150
)

// hostileRandR is RANDR of a server that answers its requests like this.
func hostileRandR(t *testing.T, answer func(q testkit.XRequest) []byte) (*RandR, error) {
	t.Helper()
	x := hostile(t, func(number uint16, request []byte) []byte {
		q := testkit.XRequest{Number: number, Bytes: request}
		switch {
		case q.Is(98, 0): // QueryExtension
			return q.Reply(0, 1, randrOpcode, 80, randrError)
		case q.Is(randrOpcode, rrQueryVersion):
			return q.Reply(0)
		case request[0] == randrOpcode:
			return answer(q)
		}
		return q.Honest()
	})
	x.guard.patience = 200 * time.Millisecond
	return x.RandR(1)
}

func TestHostileRandR(t *testing.T) {
	many := bytes.Repeat([]byte{0xff}, 24)
	for name, answer := range map[string]func(q testkit.XRequest) []byte{
		"more than it sends":      func(q testkit.XRequest) []byte { return q.Reply(0xff, many...) },
		"more than anybody needs": func(q testkit.XRequest) []byte { return q.Reply(0, make([]byte, 1<<20)...) },
		"an error of its own":     func(q testkit.XRequest) []byte { return q.Error(randrError + 1) },
		"an unknown error":        func(q testkit.XRequest) []byte { return q.Error(randrError + 8) },
		"nothing":                 func(testkit.XRequest) []byte { return nil },
	} {
		t.Run(name, func(t *testing.T) {
			for call, do := range map[string]func(r *RandR) error{
				"Resources":     func(r *RandR) error { _, err := r.Resources(); return err },
				"CRTC":          func(r *RandR) error { _, err := r.CRTC(1, 0); return err },
				"SetCRTC":       func(r *RandR) error { return r.SetCRTC(1, 0, 2, []uint32{3}) },
				"SetScreenSize": func(r *RandR) error { return r.SetScreenSize(640, 360, 96) },
			} {
				t.Run(call, func(t *testing.T) {
					t.Cleanup(func() { goleak.VerifyNone(t) })
					r, err := hostileRandR(t, answer)
					testkit.Must(t, err)
					if call == "SetScreenSize" && (name == "nothing") {
						return // it has no answer where all is well
					}
					if err := do(r); err == nil {
						t.Error("the client took it")
					}
				})
			}
		})
	}
}

func TestNoRandR(t *testing.T) {
	x := hostile(t, func(number uint16, request []byte) []byte {
		return testkit.XRequest{Number: number, Bytes: request}.Honest()
	})
	if _, err := x.RandR(1); !errors.Is(err, ErrNoRandR) {
		t.Errorf("without the extension: %v", err)
	}
}
