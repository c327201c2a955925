package brain

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"net/http"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

const attachWithin = 1500 * time.Millisecond

// link is an attached seat.
type attachment struct {
	ws    *websocket.Conn
	grant wire.Grant
	raw   []byte // the granted message as it came
}

// refusal is a seat's answer other than 101.
type refusal struct{ status int }

func (r refusal) Error() string { return fmt.Sprintf("the seat answered %d", r.status) }

// attach opens a seat with a ticket (that is the claim) or a resume token. The
// connection may have been dialled ahead.
func (b *Broker) attach(ctx context.Context, address, token string, ahead *dialled) (*attachment, error) {
	ctx, cancel := context.WithTimeout(ctx, attachWithin)
	defer cancel()
	client := b.seats
	if ahead != nil {
		transport := &http.Transport{DisableKeepAlives: true, DialContext: ahead.take}
		client = &http.Client{Transport: transport}
	}
	ws, resp, err := websocket.Dial(ctx, "ws://"+address+wire.AttachPath, &websocket.DialOptions{
		HTTPClient: client, HTTPHeader: http.Header{"Authorization": {"Bearer " + token}},
	})
	if err != nil {
		if resp != nil && resp.StatusCode != http.StatusSwitchingProtocols {
			return nil, refusal{resp.StatusCode}
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

// post sends a request to a seat's control address.
func (b *Broker) post(ctx context.Context, address, path string, body any) (int, error) {
	data, err := json.Marshal(body)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, 2*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodPost, "http://"+address+path, bytes.NewReader(data))
	if err != nil {
		return 0, err
	}
	req.Header.Set("Content-Type", "application/json")
	resp, err := b.seats.Do(req)
	if err != nil {
		return 0, err
	}
	resp.Body.Close()
	return resp.StatusCode, nil
}

// dialled is a connection that is dialled while something else is waited for.
type dialled struct {
	done chan struct{}
	conn net.Conn
	err  error
}

func dialAhead(ctx context.Context, address string) *dialled {
	d := &dialled{done: make(chan struct{})}
	go func() {
		defer close(d.done)
		d.conn, d.err = (&net.Dialer{Timeout: time.Second}).DialContext(ctx, "tcp", address)
	}()
	return d
}

func (d *dialled) take(context.Context, string, string) (net.Conn, error) {
	<-d.done
	conn, err := d.conn, d.err
	d.conn, d.err = nil, errors.New("dialled once")
	return conn, err
}

// drop closes the connection if nobody took it.
func (d *dialled) drop() {
	if conn, err := d.take(context.Background(), "", ""); err == nil {
		conn.Close()
	}
}
