package brain

import (
	"context"
	"encoding/json"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// everybody takes "good" for a ticket.
type everybody struct{}

func (everybody) Verify(token string) (ticket.Claims, error) {
	if token != "good" {
		return ticket.Claims{}, ticket.ErrForged
	}
	return ticket.Claims{Session: ticket.NewSession(), App: "game", Sites: []string{"dc1"}, Expires: time.Now().Add(time.Hour)}, nil
}

// FuzzMessages sends a brain two messages: as a stranger, and as a person who waits.
// The brain must answer with messages of its own protocol, and hold nothing when the
// person is gone.
func FuzzMessages(f *testing.F) {
	const hello = `{"type":"hello","ticket":"good","sdp":"v=0"}`
	for _, seed := range [][2]string{
		{"", ""}, {hello, `{"type":"candidate","candidate":{"candidate":"x"}}`}, {hello, `{"type":"offer","sdp":"v=0"}`},
		{hello, `{"type":"ticket","ticket":"good"}`}, {hello, `{"type":"leave"}`}, {hello, `{"type":7}`}, {hello, `{"type":"hello","sdp":1}`},
		{`{"type":"hello","resume":"h.e30.x"}`, ""}, {`{"type":"hello","ticket":{}}`, ""}, {`{"type":"hello","resume":"h.eyJzZWF0IjoxfQ.x"}`, "["},
		{`[[[[[[`, "null"}, {`{"type":"hello","ticket":"bad"}`, ""}, {hello, `{"type":"candidate","candidate":` + strings.Repeat("[", 500) + `}`},
	} {
		f.Add([]byte(seed[0]), []byte(seed[1]))
	}
	log := slog.New(slog.DiscardHandler)
	metrics := newMetrics(nil)
	b := &Broker{cfg: Config{ID: "b", Site: "dc1", Verifier: everybody{}, Log: log}, log: log, metrics: metrics,
		state: newState("dc1", log, metrics, time.Now), seats: &seatClient{}, sockets: newSockets(), guard: newGuard(nil, nil, metrics)}
	b.state.seatsChanged(nil)
	b.state.jobsChanged(JobsChange{All: true, Apps: map[string]App{"game": {ID: "game", Version: 1}}, Children: map[string]Child{}})
	server := httptest.NewUnstartedServer(b.Handler())
	b.guard.Attach(server.Config)
	server.Listener = b.guard.Listener(server.Listener)
	server.Start()
	f.Cleanup(server.Close)
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	f.Fuzz(func(t *testing.T, first, second []byte) {
		ctx, cancel := context.WithTimeout(context.Background(), 20*time.Second)
		defer cancel()
		ws, _, err := websocket.Dial(ctx, "ws"+strings.TrimPrefix(server.URL, "http")+"/v1/connect", &websocket.DialOptions{HTTPClient: client})
		if err != nil {
			t.Fatal(err)
		}
		defer ws.CloseNow()
		for i, data := range [][]byte{first, second, []byte(`{"type":"leave"}`)} {
			if ws.Write(ctx, websocket.MessageText, data) != nil {
				break
			}
			for i == 0 { // what it says to hello, or its end
				_, answer, err := ws.Read(ctx)
				var m wire.Message
				if err == nil && (json.Unmarshal(answer, &m) != nil || m.Type != wire.MsgQueued && m.Type != wire.MsgRefused && m.Type != wire.MsgEnded) {
					t.Errorf("the brain says %q", answer)
				}
				if err != nil || m.Type == wire.MsgQueued {
					break
				}
			}
		}
		for {
			if _, _, err := ws.Read(ctx); err != nil {
				if ctx.Err() != nil {
					t.Error("the brain does not end a session that is left")
				}
				break
			}
		}
		testkit.Within(t, 10*time.Second, "nothing is held for a person who is gone", func() bool {
			unproven, proven, held := b.guard.Counts()
			b.state.mu.Lock()
			defer b.state.mu.Unlock()
			return unproven+proven+held == 0 && len(b.state.lines) == 0
		})
	})
}
