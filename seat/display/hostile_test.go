package display

import (
	"bytes"
	"fmt"
	"log/slog"
	"strings"
	"testing"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/display/x11"
)

// serverEvent is one of the server's events: a kind, then what follows its number.
func serverEvent(kind byte, data ...byte) []byte {
	b := make([]byte, 32)
	b[0] = kind
	copy(b[4:], data)
	return b
}

const mapRequest = 20

// A server that sends events faster than they can be handled is given up. The
// manager is waiting for a reply meanwhile, which the library would not read.
func TestFloodOfEvents(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	flood := bytes.Repeat(serverEvent(mapRequest, 0x2d, 5, 0, 0, 7, 0, 0, 0), 2*maxEvents)
	dial := testkit.FakeX(t, testWidth, testHeight, func(q testkit.XRequest) []byte {
		if q.Is(20, 0) { // GetProperty
			return flood
		}
		if q.Is(43, 0) {
			return append(q.Honest(), serverEvent(mapRequest, 0x2d, 5, 0, 0, 7, 0, 0, 0)...)
		}
		return q.Honest()
	})
	m, err := startManager(dial, x11.Cookie{}, View{Size: Size{testWidth, testHeight}}, limits{usual: true}, slog.New(slog.DiscardHandler))
	if err == nil {
		<-m.done
		err = m.display.Err()
	}
	if err == nil || !strings.Contains(err.Error(), fmt.Sprint(maxEvents)) {
		t.Errorf("the manager says %v", err)
	}
}

// Windows without end are not all managed.
func TestFloodOfWindows(t *testing.T) {
	t.Cleanup(func() { goleak.VerifyNone(t) })
	const first = 0x1000
	window, all := uint32(first), make(chan struct{})
	dial := testkit.FakeX(t, testWidth, testHeight, func(q testkit.XRequest) []byte {
		switch {
		case !q.Is(8, 0) && (!q.Is(43, 0) || window > first): // MapWindow; GetInputFocus ends the set-up
			return q.Honest()
		case window == first+2*maxClients:
			close(all)
		case window > first+2*maxClients:
			return q.Honest()
		}
		window++
		return append(q.Honest(), serverEvent(mapRequest, append([]byte{0x2d, 5, 0, 0}, le32(window)...)...)...)
	})
	m, err := startManager(dial, x11.Cookie{}, View{Size: Size{testWidth, testHeight}}, limits{usual: true}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	select {
	case <-all:
	case <-within(t).Done():
		t.Fatal("the windows are not all mapped")
	}
	m.close()
	<-m.done
	if n := len(m.clients); n != maxClients {
		t.Errorf("%d windows are managed", n)
	}
}
