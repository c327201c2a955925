package brain_test

import (
	"context"
	"encoding/json"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/wire"
)

// person is a browser's end of the WebSocket.
type person struct {
	t       *testing.T
	ws      *websocket.Conn
	session string
}

func (s *site) dial(r *replica) *person {
	s.t.Helper()
	ws, _, err := websocket.Dial(s.ctx, "ws"+strings.TrimPrefix(r.url, "http")+"/v1/connect", &websocket.DialOptions{
		HTTPHeader: http.Header{"Origin": {"https://somebody.else.example"}},
		HTTPClient: &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}})
	if err != nil {
		s.t.Fatal(err)
	}
	s.t.Cleanup(func() { ws.CloseNow() })
	return &person{t: s.t, ws: ws}
}

func (s *site) play(r *replica, app string) *person {
	s.t.Helper()
	return s.playVersion(r, app, 0)
}

func (s *site) playVersion(r *replica, app string, version uint64) *person {
	s.t.Helper()
	p := s.dial(r)
	token, session := s.ticket(app, version)
	p.session = session
	p.send(wire.Message{Type: wire.MsgHello, Ticket: token, SDP: "offer of " + session})
	return p
}

func (p *person) send(m wire.Message) {
	p.t.Helper()
	data, _ := json.Marshal(m)
	if err := p.ws.Write(context.Background(), websocket.MessageText, data); err != nil {
		p.t.Fatal(err)
	}
}

func (p *person) next() (wire.Message, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	_, data, err := p.ws.Read(ctx)
	var m wire.Message
	if err == nil {
		err = json.Unmarshal(data, &m)
	}
	return m, err
}

// expect skips to a message of the type.
func (p *person) expect(want wire.MessageType) wire.Message {
	p.t.Helper()
	for {
		m, err := p.next()
		if err != nil {
			p.t.Fatalf("waiting for %s: %v", want, err)
		}
		if m.Type == want {
			return m
		}
		if m.Type == wire.MsgEnded || m.Type == wire.MsgRefused {
			p.t.Fatalf("waiting for %s: got %s (%v %v)", want, m.Type, m.Problem, m.End)
		}
	}
}

// closed expects the end of the socket with a code.
func (p *person) closed(want int) {
	p.t.Helper()
	for {
		if _, err := p.next(); err != nil {
			if got := websocket.CloseStatus(err); int(got) != want {
				p.t.Fatalf("closed with %d (%v), want %d", got, err, want)
			}
			return
		}
	}
}
