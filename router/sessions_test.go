package router

import (
	"context"
	"encoding/json"
	"errors"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// seatOf is a brain's side of /v1/sessions/{id}: it knows one session.
type seatOf struct {
	session string
	asked   atomic.Int32
	ended   atomic.Bool
}

func (b *seatOf) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b.asked.Add(1)
	if req.URL.Path != "/v1/sessions/"+b.session || b.ended.Load() {
		w.Header().Set("Content-Type", wire.ProblemType)
		w.WriteHeader(http.StatusNotFound)
		json.NewEncoder(w).Encode(problem(wire.ProblemNotFound, "", "no"))
		return
	}
	if req.Method == http.MethodDelete {
		b.ended.Store(true)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	json.NewEncoder(w).Encode(wire.SessionView{
		Session: b.session, App: "chess", Site: "west", State: string(wire.SeatStreaming), Seat: "2f1e", Since: time.Now().UTC(),
	})
}

// seatBrains adds a brain for each address.
func (g *rig) seatBrains(west ...string) {
	g.view.set(func(s *Snapshot) {
		s.Sites[1].Brains = nil
		for i, address := range west {
			b := brain("west")
			b.ID += string(rune('0' + i))
			b.Address = address
			s.Sites[1].Brains = append(s.Sites[1].Brains, b)
		}
	})
}

func serveBrain(t *testing.T, h http.Handler) string {
	t.Helper()
	s := httptest.NewServer(h)
	t.Cleanup(s.Close)
	return s.Listener.Addr().String()
}

func TestSession(t *testing.T) {
	g := newRig(t)
	known, other := &seatOf{session: ticket.NewSession()}, &seatOf{}
	east, west := serveBrain(t, other), serveBrain(t, known)
	g.view.set(func(s *Snapshot) {
		b := brain("east")
		b.Address = east
		dead := b
		dead.Healthy, dead.Address = false, "127.0.0.1:1"
		s.Sites[0].Brains = []wire.Instance{b, dead}
	})
	g.seatBrains(west)

	path := "/v1/sessions/" + known.session
	view := into[wire.SessionView](g, 200, "GET", path, nil)
	if view.Session != known.session || view.Site != "west" || view.State != "streaming" {
		t.Errorf("%+v", view)
	}
	g.refused(wire.ProblemNotFound, "GET", "/v1/sessions/"+ticket.NewSession(), nil)

	before := known.asked.Load()
	for _, id := range []string{"s-short", "nobody", "s-" + strings.Repeat("A", 26), "..%2fapps"} {
		g.refused(wire.ProblemNotFound, "GET", "/v1/sessions/"+id, nil)
	}
	if known.asked.Load() != before {
		t.Error("brains are asked for an id that is not a session's")
	}

	if res, body := g.call("DELETE", path, nil); res.StatusCode != 204 || !known.ended.Load() {
		t.Errorf("%s %s", res.Status, body)
	}
	g.refused(wire.ProblemNotFound, "DELETE", path, nil)
	g.refused(wire.ProblemNotFound, "GET", path, nil)
	if strings.Contains(g.logs.String(), known.session) {
		t.Error("the log has a session that was asked for")
	}
}

func TestSessionWhenBrainsFail(t *testing.T) {
	known := &seatOf{session: ticket.NewSession()}
	west := serveBrain(t, known)
	closed := serveBrain(t, http.NotFoundHandler()) // stands in for the other site
	broken := serveBrain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	garbage := serveBrain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	redirecting := serveBrain(t, http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	for name, address := range map[string]string{
		"refuses connections": "127.0.0.1:1", "fails": broken, "talks nonsense": garbage, "redirects": redirecting,
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.view.set(func(s *Snapshot) {
				b := brain("east")
				b.Address = closed
				s.Sites[0].Brains = []wire.Instance{b}
			})
			g.seatBrains(address, west)
			into[wire.SessionView](g, 200, "GET", "/v1/sessions/"+known.session, nil)
			g.seatBrains(address)
			g.refused(wire.ProblemUnavailable, "GET", "/v1/sessions/"+known.session, nil)
		})
	}
	t.Run("site without a brain", func(t *testing.T) {
		g := newRig(t)
		g.view.set(func(s *Snapshot) {
			b := brain("east")
			b.Address = closed
			s.Sites[0].Brains = []wire.Instance{b}
		})
		g.seatBrains()
		g.refused(wire.ProblemUnavailable, "GET", "/v1/sessions/"+known.session, nil)
	})
}

// TestSlowBrainIsNotWaitedFor checks that one brain that knows is enough.
func TestSlowBrainIsNotWaitedFor(t *testing.T) {
	g := newRig(t)
	release := make(chan struct{})
	known := &seatOf{session: ticket.NewSession()}
	slow := serveBrain(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	}))
	defer close(release)
	g.seatBrains(slow, serveBrain(t, known))
	start := time.Now()
	into[wire.SessionView](g, 200, "GET", "/v1/sessions/"+known.session, nil)
	if took := time.Since(start); took > askTimeout/2 {
		t.Errorf("took %s", took)
	}
}

// TestServe checks that a request in flight outlives the end of Serve's context,
// and that nothing is served after it.
func TestServe(t *testing.T) {
	entered, release := make(chan struct{}), make(chan struct{})
	let := sync.OnceFunc(func() { close(release) })
	defer let()
	key := testkit.Signer(t)
	view := &stage{snap: testSnapshot()}
	slow := serveBrain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		close(entered)
		<-release
		w.WriteHeader(http.StatusNotFound)
	}))
	view.set(func(s *Snapshot) {
		b := brain("east")
		b.Address = slow
		s.Sites = s.Sites[:1]
		s.Sites[0].Brains = []wire.Instance{b}
	})
	r, err := New(Config{Site: "east", URL: "http://east.example", View: view, Signer: key,
		Verifier: ticket.NewVerifier(key.Public()), Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		t.Fatal(err)
	}
	defer r.Close()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	ctx, stop := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- r.Serve(ctx, l) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	url := "http://" + l.Addr().String()
	status := make(chan int, 1)
	go func() {
		res, err := client.Get(url + "/v1/sessions/" + ticket.NewSession())
		if err != nil {
			status <- 0
			return
		}
		res.Body.Close()
		status <- res.StatusCode
	}()
	<-entered
	stop()
	// Once the listener is closed, new requests are refused while the old is served.
	testkit.Until(t, "new requests are refused", func() bool {
		res, err := client.Get(url + "/v1/beacon")
		if err == nil {
			res.Body.Close()
		}
		return err != nil
	})
	select {
	case err := <-served:
		t.Fatalf("Serve ended with a request in flight: %v", err)
	default:
	}
	let()
	if got := <-status; got != 404 {
		t.Errorf("the request in flight got %d", got)
	}
	if err := <-served; err != nil {
		t.Error(err)
	}
}

func TestServeFails(t *testing.T) {
	key := testkit.Signer(t)
	r, err := New(Config{Site: "east", URL: "http://east.example", View: &stage{}, Signer: key, Verifier: ticket.NewVerifier(key.Public())})
	if err != nil {
		t.Fatal(err)
	}
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	l.Close()
	if err := r.Serve(t.Context(), l); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
