package brain_test

import (
	"context"
	"crypto/tls"
	"encoding/base64"
	"encoding/json"
	"flag"
	"fmt"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

var pagesFlag = flag.Int("pages", 2000, "pages of TestPagesComeBack")

// wait is a row of the page's schedule, web/assets/js/reconnect.js.
type wait struct{ MS, Spread float64 }

func (w wait) pick() time.Duration {
	return time.Duration((w.MS + w.Spread*rand.Float64()) * float64(time.Millisecond))
}

// schedule is the page's, from the golden file that its own test has.
func schedule(t *testing.T) (calm []wait) {
	t.Helper()
	text, err := os.ReadFile("../web/test/reconnect.json")
	if err != nil {
		t.Fatal(err)
	}
	var all struct{ Calm []wait }
	if err := json.Unmarshal(text, &all); err != nil || len(all.Calm) < 4 {
		t.Fatalf("the page's schedule: %+v, %v", all, err)
	}
	return all.Calm
}

// manySeats are seats that stream already, behind one address. Their resume tokens
// are good.
func (s *site) manySeats(n int) {
	s.t.Helper()
	var open sync.WaitGroup
	me := testkit.Identity(s.t)
	server := httptest.NewUnstartedServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		open.Add(1)
		defer open.Done()
		token := strings.TrimPrefix(r.Header.Get("Authorization"), "Bearer ")
		ws, err := websocket.Accept(rw, r, nil)
		if err != nil {
			return
		}
		defer ws.CloseNow()
		data, _ := json.Marshal(wire.Message{Type: wire.MsgGranted, Grant: &wire.Grant{Session: token, App: "game", Resume: token, Resumed: true}})
		if ws.Write(s.ctx, websocket.MessageText, data) == nil {
			ws.Read(s.ctx)
		}
	}))
	server.Listener = tls.NewListener(server.Listener, me.Server(s.fleet.Peers(wire.BrainService), wire.BrainService))
	server.Start()
	s.t.Cleanup(func() { server.Close(); open.Wait() })
	for i := range n {
		id := fmt.Sprintf("alloc-%d", i)
		s.here.seats.Set(id, wire.Seat{ID: id, Key: me.Key(), App: "game", Job: fmt.Sprintf("game/dispatch-v1-%d", i), Version: 1,
			Address: server.Listener.Addr().String(), State: wire.SeatStreaming, Since: time.Now().UTC()})
	}
}

// page connects with a resume token and reports whether it is granted.
func page(ctx context.Context, i int, address string) (*websocket.Conn, error) {
	payload, _ := json.Marshal(map[string]string{"seat": fmt.Sprintf("alloc-%d", i)})
	token := "h." + base64.RawURLEncoding.EncodeToString(payload) + ".x"
	dialer := net.Dialer{LocalAddr: &net.TCPAddr{IP: net.IPv4(127, 1, byte(i/10%250), byte(1+i%10))}}
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second) // as signal.js
	defer cancel()
	ws, _, err := websocket.Dial(ctx, "ws://"+address+"/v1/connect", &websocket.DialOptions{HTTPClient: &http.Client{
		Transport: &http.Transport{DisableKeepAlives: true, DialContext: dialer.DialContext}}})
	if err != nil {
		return nil, err
	}
	hello, _ := json.Marshal(wire.Message{Type: wire.MsgHello, Resume: token})
	var m wire.Message
	err = ws.Write(ctx, websocket.MessageText, hello)
	if err == nil {
		var data []byte
		if _, data, err = ws.Read(ctx); err == nil {
			err = json.Unmarshal(data, &m)
		}
	}
	if err == nil && m.Type != wire.MsgGranted {
		err = fmt.Errorf("%s: %+v", m.Type, m.Problem)
	}
	if err != nil {
		ws.CloseNow()
		return nil, err
	}
	return ws, nil
}

// TestPagesComeBack has the brain of 2,000 pages killed. They come back to another
// one by the page's own schedule.
func TestPagesComeBack(t *testing.T) {
	s := newSite(t)
	waits := schedule(t)
	n := *pagesFlag
	s.manySeats(n)
	first, second := s.process("b1", "game", n), s.process("b2", "game", n)

	type back struct {
		after time.Duration
		tries int
	}
	var (
		mu     sync.Mutex
		came   []back
		killed = make(chan time.Time, 1)
		lostAt = sync.OnceValue(func() time.Time { return <-killed })
		there  sync.WaitGroup
		all    sync.WaitGroup
	)
	ctx, stop := context.WithCancel(s.ctx)
	there.Add(n)
	slots := make(chan struct{}, 50) // they come to the first brain in peace
	for i := range n {
		all.Go(func() {
			var ws *websocket.Conn
			slots <- struct{}{}
			for ws == nil && ctx.Err() == nil {
				var err error
				if ws, err = page(ctx, i, first.address); err != nil {
					pause(ctx, 50*time.Millisecond)
				}
			}
			<-slots
			there.Done()
			if ws == nil {
				return
			}
			ws.Read(ctx) // until the brain is gone
			ws.CloseNow()
			for try := 1; ctx.Err() == nil; try++ {
				pause(ctx, waits[min(try, len(waits))-1].pick())
				// The load balancer sends them to the brain that lives.
				ws, err := page(ctx, i, second.address)
				if err != nil {
					continue
				}
				mu.Lock()
				came = append(came, back{time.Since(lostAt()), try})
				mu.Unlock()
				ws.Read(ctx)
				ws.CloseNow()
				return
			}
		})
	}
	defer all.Wait()
	defer stop()
	there.Wait()
	t.Logf("%d pages are at the first brain, which had %d MB at most", n, first.peak()>>20)
	if peak := first.peak(); peak > memoryLimit {
		t.Errorf("the first brain had %d MB", peak>>20)
	}
	killed <- time.Now()
	first.Kill()
	begin := lostAt()
	s.until("all pages are back", func() bool {
		mu.Lock()
		defer mu.Unlock()
		return len(came) == n
	})
	slices.SortFunc(came, func(a, b back) int { return int(a.after - b.after) })
	tries := 0
	for _, c := range came {
		tries = max(tries, c.tries)
	}
	last := came[n-1].after
	t.Logf("back after: median %v, p99 %v, last %v of at most %d tries; the second brain had %d MB at most; cuts: %s",
		came[n/2].after.Round(time.Millisecond), came[n*99/100].after.Round(time.Millisecond), last.Round(time.Millisecond), tries, second.peak()>>20, second.cuts())
	if last > 10*time.Second {
		t.Errorf("the last page is back after %v (%v since the test knows)", last, time.Since(begin))
	}
	if peak := second.peak(); peak > memoryLimit {
		t.Errorf("the second brain had %d MB, and its job has %d MB", peak>>20, memoryLimit>>20)
	}
}
