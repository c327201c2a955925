package x11

import (
	"testing"
	"time"

	"github.com/jezek/xgb/xproto"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
)

const (
	fixesOpcode = 201
	fixesError  = 160
)

// A server that answers XFIXES wrongly, or not at all, is refused in bounded time.
func TestHostileSelection(t *testing.T) {
	for name, answer := range map[string]func(q testkit.XRequest) []byte{
		"no such extension":    func(q testkit.XRequest) []byte { return q.Reply(0, 0) },
		"a version of 1 MiB":   func(q testkit.XRequest) []byte { return q.Reply(0, make([]byte, 1<<20)...) },
		"an error of its own":  func(q testkit.XRequest) []byte { return q.Error(fixesError) },
		"an unknown error":     func(q testkit.XRequest) []byte { return q.Error(fixesError + 1) },
		"nothing":              func(testkit.XRequest) []byte { return nil },
		"no word of selection": nil,
	} {
		t.Run(name, func(t *testing.T) {
			t.Cleanup(func() { goleak.VerifyNone(t) })
			x := hostile(t, func(number uint16, request []byte) []byte {
				q := testkit.XRequest{Number: number, Bytes: request}
				switch {
				case q.Is(98, 0) && name != "no such extension": // QueryExtension
					return q.Reply(0, 1, fixesOpcode, 90, fixesError)
				case q.Is(fixesOpcode, fixesQueryVersion) && answer == nil:
					return q.Reply(0)
				case q.Is(fixesOpcode, fixesWatchSelection):
					return q.Error(3)
				case request[0] == fixesOpcode || q.Is(98, 0):
					return answer(q)
				}
				return q.Honest()
			})
			x.guard.patience = 200 * time.Millisecond
			if _, err := x.WatchSelection(1, 2); err == nil {
				t.Error("the client took it")
			}
		})
	}
}

// Only events of the extension that are of the selection count.
func TestSelectionEvents(t *testing.T) {
	x := hostile(t, func(number uint16, request []byte) []byte {
		q := testkit.XRequest{Number: number, Bytes: request}
		if q.Is(98, 0) {
			return q.Reply(0, 1, fixesOpcode, 90, fixesError)
		}
		if q.Is(fixesOpcode, fixesQueryVersion) {
			return q.Reply(0)
		}
		if q.Is(fixesOpcode, fixesWatchSelection) {
			return nil
		}
		return q.Honest()
	})
	owner, err := x.WatchSelection(1, 2)
	testkit.Must(t, err)
	event := func(code, selection byte) extensionEvent {
		e := make(extensionEvent, packetSize)
		e[0], e[8], e[12] = code, 7, selection
		return e
	}
	if w, ok := owner(event(90, 2)); !ok || w != 7 {
		t.Errorf("window %d took it, %v", w, ok)
	}
	for name, e := range map[string]extensionEvent{"another selection": event(90, 3), "another event": event(91, 2), "a short one": event(90, 2)[:12]} {
		if w, ok := owner(e); ok {
			t.Errorf("%s: window %d took it", name, w)
		}
	}
	if _, ok := owner(xproto.SelectionClearEvent{}); ok {
		t.Error("an event of the core protocol counted")
	}
}
