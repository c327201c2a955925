package e2e

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"

	"github.com/nearcast/nearcast/client"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// launch asks the router for a session.
func launch(ctx context.Context, app string, network byte) (client.LaunchResponse, error) {
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 9, network, 1)}}
	return launchWith(ctx, app, "", client.WithHTTPClient(&http.Client{Transport: &http.Transport{DialContext: dialer.DialContext, DisableKeepAlives: true}}))
}

// launchWith asks with a launch token.
func launchWith(ctx context.Context, app, token string, options ...client.ClientOption) (client.LaunchResponse, error) {
	c, err := client.New(site.URL, token, options...)
	if err != nil {
		return client.LaunchResponse{}, err
	}
	answer, err := c.LaunchWithResponse(ctx, client.LaunchRequest{App: app})
	if err == nil {
		err = client.Check(answer)
	}
	if err != nil {
		return client.LaunchResponse{}, fmt.Errorf("launch: %w", err)
	}
	return *answer.JSON201, nil
}

// hello opens the brain's WebSocket with a ticket and returns its first message
// that decides: granted, queued, refused or ended.
func hello(ctx context.Context, url, ticket string) (*websocket.Conn, wire.Message, error) {
	conn, _, err := websocket.Dial(ctx, url, nil)
	if err != nil {
		return nil, wire.Message{}, err
	}
	conn.SetReadLimit(wire.MaxMessage)
	if err := wsjson.Write(ctx, conn, wire.Message{Type: wire.MsgHello, Ticket: ticket}); err != nil {
		return conn, wire.Message{}, err
	}
	for {
		var m wire.Message
		if err := wsjson.Read(ctx, conn, &m); err != nil {
			return conn, m, err
		}
		if m.Type != wire.MsgStarting {
			return conn, m, nil
		}
	}
}

func TestFiftyClaimsForOneSeat(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"warm": "1", "max": "1"})
	testkit.Must(t, site.WaitIdle(ctx, app))

	const n = 50
	launched := make([]client.LaunchResponse, n)
	for i := range launched {
		var err error
		launched[i], err = launch(ctx, app, byte(i%5)) // of several networks: each has a limit
		testkit.Must(t, err)
	}
	got := make([]wire.MessageType, n)
	conns := make([]*websocket.Conn, n)
	start := make(chan struct{})
	var all sync.WaitGroup
	for i := range n {
		all.Go(func() {
			<-start
			conn, m, err := hello(ctx, launched[i].BrainUrl, launched[i].Ticket)
			if err != nil {
				t.Errorf("claim %d: %v", i, err)
			}
			conns[i], got[i] = conn, m.Type
		})
	}
	close(start)
	all.Wait()
	count := map[wire.MessageType]int{}
	for i, conn := range conns {
		count[got[i]]++
		if conn != nil {
			_ = conn.CloseNow() // its first message is enough
		}
	}
	if count[wire.MsgGranted] != 1 || count[wire.MsgQueued] != n-1 {
		t.Errorf("50 claims for one seat got %v, want 1 granted and 49 queued", count)
	}
}

func TestTicketsThatDoNotHold(t *testing.T) {
	ctx := testkit.Context(t, time.Minute)
	app := runApp(ctx, t, map[string]string{"warm": "2"})
	testkit.Must(t, site.WaitIdle(ctx, app))
	good, err := launch(ctx, app, 0)
	testkit.Must(t, err)

	forged := []byte(good.Ticket)
	middle := len(forged) / 2
	forged[middle] ^= 1
	conn, m, err := hello(ctx, good.BrainUrl, string(forged))
	testkit.Must(t, err)
	_ = conn.CloseNow()
	if m.Type != wire.MsgRefused || m.Problem == nil || m.Problem.Type != wire.ProblemTicket {
		t.Errorf("a forged ticket got %+v", m)
	}

	first, m, err := hello(ctx, good.BrainUrl, good.Ticket)
	testkit.Must(t, err)
	defer first.CloseNow()
	if m.Type != wire.MsgGranted {
		t.Fatalf("a good ticket got %+v", m)
	}
	// Before they have a picture, who has the ticket gets the same seat again.
	seat := m.Grant.Seat
	second, m, err := hello(ctx, good.BrainUrl, good.Ticket)
	testkit.Must(t, err)
	defer second.CloseNow()
	if m.Type != wire.MsgGranted || m.Grant.Seat != seat {
		t.Fatalf("a ticket that came again got %+v, and had %s", m, seat)
	}
	testkit.Must(t, second.Write(ctx, websocket.MessageText, []byte(`{"type":"leave"}`)))
	for m.Type != wire.MsgEnded {
		testkit.Must(t, wsjson.Read(ctx, second, &m))
	}
	third, m, err := hello(ctx, good.BrainUrl, good.Ticket)
	testkit.Must(t, err)
	_ = third.CloseNow()
	if m.Type != wire.MsgRefused || m.Problem == nil || m.Problem.Type != wire.ProblemTicketUsed {
		t.Errorf("a ticket used twice got %+v", m)
	}

	logs, err := filepath.Glob(filepath.Join(site.Dir, "log", "*"))
	testkit.Must(t, err)
	for _, file := range logs {
		text, err := os.ReadFile(file)
		testkit.Must(t, err)
		for _, secret := range []string{good.Ticket, string(forged)} {
			if strings.Contains(string(text), secret) {
				t.Errorf("%s holds a ticket", filepath.Base(file))
			}
		}
	}
}
