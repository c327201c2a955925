package seat

import (
	"fmt"
	"io"
	"net"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestStrangersAtTheSeatAPI opens more connections than the seat has places for,
// silent and trickling, while a brain claims the seat.
func TestStrangersAtTheSeatAPI(t *testing.T) {
	r := newRig(t).idle()
	address := r.seats.last().Address
	var cut atomic.Int64
	var strangers sync.WaitGroup
	defer strangers.Wait()
	for i := range 200 {
		c, err := net.Dial("tcp", address)
		if err != nil {
			t.Fatal(err)
		}
		defer c.Close()
		strangers.Go(func() {
			io.Copy(io.Discard, c)
			cut.Add(1)
		})
		if i%2 == 0 {
			io.WriteString(c, "POST /v1/end HTTP/1.1\r\nHost: x\r\nContent-Length: 10\r\n\r\n")
		}
	}
	begin := time.Now()
	brain, status, _ := r.attach(r.ticket(ticket.NewSession(), "viewer"))
	if status != http.StatusSwitchingProtocols {
		t.Fatalf("the brain's claim gets %d", status)
	}
	lost := make(chan error, 1)
	go func() {
		var err error
		for err == nil {
			_, _, err = brain.Read(t.Context())
		}
		lost <- err
	}()
	testkit.Within(t, 5*time.Second, "all but 64 strangers are cut", func() bool { return cut.Load() >= 200-64 })
	t.Logf("claimed in %v", time.Since(begin))

	slow, err := net.Dial("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	defer slow.Close()
	io.WriteString(slow, "GET /v1/attach HTTP/1.1\r\nX: ")
	gone := make(chan struct{})
	go func() { io.Copy(io.Discard, slow); close(gone) }()
	testkit.Within(t, 15*time.Second, "a request that trickles is cut", func() bool {
		io.WriteString(slow, "x")
		select {
		case <-gone:
			return true
		default:
			return false
		}
	})
	// The brain has proven itself: the time for strangers does not count for it.
	select {
	case err := <-lost:
		t.Errorf("the brain's attachment is lost: %v", err)
	default:
	}
}

func TestRefusalsTellTheClock(t *testing.T) {
	r := newRig(t).idle()
	before := time.Now()
	resp, err := http.Get(fmt.Sprintf("http://%s%s", r.seats.last().Address, wire.AttachPath))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	told, err := time.Parse(time.RFC3339Nano, resp.Header.Get(wire.ClockHeader))
	if err != nil || told.Before(before.Add(-time.Second)) || told.After(time.Now().Add(time.Second)) {
		t.Errorf("a refusal at %v says %q", before, resp.Header.Get(wire.ClockHeader))
	}
}
