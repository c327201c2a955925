package brain

import (
	"bytes"
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"strconv"
	"sync/atomic"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
)

const (
	dialWithin   = time.Second // a seat is near, or gone
	attachWithin = 1500 * time.Millisecond
	// bufferSize is that of connections to seats. They last as long as a session, and
	// have more buffers above these.
	bufferSize = 1 << 10
)

// seatClient speaks with seats, at the address of their seat API, and proves to them
// that it is a brain.
type seatClient struct {
	me *identity.Identity
}

// over is a client for one request to a seat, by a connection that was dialled for it. It
// uses no proxy, and keeps no connection: each is upgraded or rare.
func over(d *dialled) *http.Client {
	return &http.Client{Timeout: 3 * time.Second, Transport: &http.Transport{
		DialTLSContext: d.take, DisableKeepAlives: true, ReadBufferSize: bufferSize, WriteBufferSize: bufferSize,
	}}
}

// attachment is the WebSocket to a seat, after the seat has granted it.
type attachment struct {
	ws    *websocket.Conn
	grant wire.Grant
	raw   []byte // the granted message as it came
	// lease is of a person who has not begun a session; else nil.
	lease *lease
}

// refusal is a seat's answer other than 101.
type refusal struct {
	status int
	clock  *time.Duration // how far the seat's clock is ahead of ours, if it says
}

func (r refusal) Error() string { return fmt.Sprintf("the seat answered %d", r.status) }

// credential is what an attachment is asked for with.
type credential struct {
	token string // a ticket or a resume token
	try   uint64 // the index of the ticket's record; 0 with a resume token
	trace string // of the brain's span; empty where launches are not traced
}

// attach attaches to a seat by wire.AttachPath with a ticket, which is the claim, or with a
// resume token; by wire.PreparePath with the ticket of a person who has not
// pressed Play. ahead is a connection that was dialled ahead and is used up, or nil.
func (c *seatClient) attach(ctx context.Context, seat wire.Seat, path string, by credential, ahead *dialled) (*attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	if ahead == nil {
		ahead = c.dial(ctx, seat)
	}
	defer ahead.drop()
	client := over(ahead)
	client.Timeout = 0 // a WebSocket lasts
	asked := time.Now()
	header := http.Header{"Authorization": {"Bearer " + by.token}}
	if by.try != 0 {
		header.Set(wire.TryHeader, strconv.FormatUint(by.try, 10))
	}
	if by.trace != "" {
		header.Set(wire.TraceHeader, by.trace)
	}
	ws, resp, err := websocket.Dial(ctx, "wss://"+seat.Address+path, &websocket.DialOptions{HTTPClient: client, HTTPHeader: header})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal{resp.StatusCode, clockOff(resp.Header, asked, time.Now())}
		}
		return nil, err
	}
	ws.SetReadLimit(2 * wire.MaxMessage)
	_, data, err := ws.Read(ctx)
	var m wire.Message
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	if err == nil && (m.Type != wire.MsgGranted || m.Grant == nil) {
		err = fmt.Errorf("the seat's first message is %q, not granted", m.Type)
	}
	if err != nil {
		ws.CloseNow()
		return nil, err
	}
	return &attachment{ws: ws, grant: *m.Grant, raw: data}, nil
}

// clockOff is how far the clock of the one that answered is ahead of ours. It takes the
// middle between question and answer for the moment at which they looked.
func clockOff(h http.Header, asked, answered time.Time) *time.Duration {
	theirs, err := time.Parse(time.RFC3339Nano, h.Get(wire.ClockHeader))
	if err != nil {
		if theirs, err = http.ParseTime(h.Get("Date")); err != nil {
			return nil
		}
	}
	return new(theirs.Sub(asked.Add(answered.Sub(asked) / 2)))
}

// retire asks a seat to end if it is idle, or if it fetches its content, and returns the status of
// its answer.
func (c *seatClient) retire(ctx context.Context, seat wire.Seat, ask wire.RetireRequest) (status int, err error) {
	return c.post(ctx, seat, wire.RetirePath, ask)
}

// end asks a seat to end a session because its person left.
func (c *seatClient) end(ctx context.Context, seat wire.Seat, session string) (status int, err error) {
	return c.post(ctx, seat, wire.EndPath, wire.EndRequest{Session: session, Reason: wire.ReasonLeft})
}

func (c *seatClient) post(ctx context.Context, seat wire.Seat, path string, body any) (status int, err error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "https://"+seat.Address+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	conn := c.dial(ctx, seat)
	defer conn.drop()
	resp, err := over(conn).Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// dialled is a connection that is dialled while something else is waited for.
type dialled struct {
	done  chan struct{}
	conn  net.Conn // conn and err are set once, before done is closed
	err   error
	taken atomic.Bool
}

// dial dials a seat, and makes sure that it is that seat.
func (c *seatClient) dial(ctx context.Context, seat wire.Seat) *dialled {
	d := &dialled{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		ctx, cancel := context.WithTimeout(ctx, dialWithin)
		defer cancel()
		d.conn, d.err = (&tls.Dialer{Config: c.me.Client(seat.Key)}).DialContext(ctx, "tcp", seat.Address)
	}()
	return d
}

// take hands the connection out, once. Its form is that of http.Transport.DialTLSContext,
// which may call it after the request has ended, and so at the same time as drop.
func (d *dialled) take(context.Context, string, string) (net.Conn, error) {
	<-d.done
	if d.err != nil {
		return nil, d.err
	}
	if d.taken.Swap(true) {
		return nil, errors.New("the connection was taken before")
	}
	return d.conn, nil
}

// drop closes the connection unless it was taken.
func (d *dialled) drop() {
	if conn, err := d.take(context.Background(), "", ""); err == nil {
		conn.Close()
	}
}
