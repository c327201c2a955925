package seat

import (
	"crypto/tls"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestStrangersAtTheSeatAPI opens more connections than the seat has places for,
// silent and trickling, while a brain claims the seat.
func TestStrangersAtTheSeatAPI(t *testing.T) {
	// No browser comes, and the claim must outlast the strangers.
	r := newRigWith(t, func(r *rig) { r.spec.LeaseS = 60 }).idle()
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
			io.WriteString(c, "\x16\x03\x01\x02\x00\x01") // a TLS handshake that does not go on
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

	// Also one whose key the seat knows.
	slow, err := tls.Dial("tcp", address, r.brain.Client(r.seats.last().Key))
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
	resp, err := r.client(r.brain).Get(fmt.Sprintf("https://%s%s", r.seats.last().Address, wire.AttachPath))
	if err != nil {
		t.Fatal(err)
	}
	resp.Body.Close()
	told, err := time.Parse(time.RFC3339Nano, resp.Header.Get(wire.ClockHeader))
	if err != nil || told.Before(before.Add(-time.Second)) || told.After(time.Now().Add(time.Second)) {
		t.Errorf("a refusal at %v says %q", before, resp.Header.Get(wire.ClockHeader))
	}
}

// TestSeatAPIIsForBrains asks the seat as other processes that can reach its port: without
// TLS, without a key, with one that stands nowhere, and as other parts of the site.
func TestSeatAPIIsForBrains(t *testing.T) {
	r := newRig(t).idle()
	as := func(service, node string) *identity.Identity {
		i := testkit.Identity(t)
		if service != "" {
			r.known[i.Key()] = identity.Peer{Service: service, Node: node}
		}
		return i
	}
	attach := wire.CheckRequest{Session: ticket.NewSession(), Resume: "x"}
	for name, c := range map[string]struct {
		as     *identity.Identity
		path   string
		status int // 0: no connection
	}{
		"a router retires it":            {as(wire.RouterService, "edge-1"), wire.RetirePath, 0},
		"a node retires it":              {as(wire.NodeService, "node-1"), wire.RetirePath, 0},
		"a key without a record":         {as("", ""), wire.RetirePath, 0},
		"the drain of another node":      {as(wire.DrainService, "node-2"), wire.RetirePath, http.StatusForbidden},
		"its node's drain ends sessions": {as(wire.DrainService, "node-1"), wire.EndPath, http.StatusForbidden},
		"its node's drain checks tokens": {as(wire.DrainService, "node-1"), wire.CheckPath, http.StatusForbidden},
		"its node's drain looks":         {as(wire.DrainService, "node-1"), wire.SeatStillPath, http.StatusForbidden},
		"a router looks":                 {as(wire.RouterService, "edge-1"), wire.SeatStillPath, 0},
		"a brain checks a token":         {r.brain, wire.CheckPath, http.StatusUnauthorized},
	} {
		status, err := r.postAs(c.as, c.path, attach)
		if status != c.status {
			t.Errorf("%s: status %d, error %v, want %d", name, status, err, c.status)
		}
	}
	for _, url := range []string{"http://" + r.address, "https://" + r.address} {
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{InsecureSkipVerify: true}}}
		if resp, err := client.Post(url+wire.RetirePath, "application/json", strings.NewReader("{}")); err == nil {
			resp.Body.Close()
			if resp.StatusCode < 400 {
				t.Errorf("%s without a key: %s", url, resp.Status)
			}
		}
	}
	if state := r.seats.last().State; state != wire.SeatIdle {
		t.Fatalf("the seat is %s now", state)
	}
	if status, err := r.postAs(as(wire.DrainService, "node-1"), wire.RetirePath, struct{}{}); status != http.StatusNoContent {
		t.Errorf("the drain of its node: status %d, error %v", status, err)
	}
}
