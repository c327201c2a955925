package router

import (
	"context"
	"crypto/tls"
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

	"github.com/golang-jwt/jwt/v5"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// seatOf is a brain's internal side of /v1/sessions/{id}: it knows one session.
type seatOf struct {
	session string
	resume  string // the resume token that its seat takes
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
	if token, ok := bearer(req); ok && token != b.resume {
		w.WriteHeader(http.StatusUnauthorized)
		return
	}
	if req.Method == http.MethodDelete {
		b.ended.Store(true)
		w.WriteHeader(http.StatusNoContent)
		return
	}
	json.NewEncoder(w).Encode(wire.SessionView{
		Session: b.session, App: "chess", State: string(wire.SeatStreaming), Seat: "2f1e", Since: time.Now().UTC(),
	})
}

// brainsAt gives a site brains with these internal addresses.
func (g *rig) brainsAt(site int, brains ...served) {
	g.view.set(func(s *Snapshot) {
		s.Sites[site].Brains = nil
		for i, at := range brains {
			b := brain(s.Sites[site].Name)
			b.ID += string(rune('0' + i))
			b.Internal, b.Key = at.address, at.key
			s.Sites[site].Brains = append(s.Sites[site].Brains, b)
		}
	})
}

// served is a brain's internal listener.
type served struct{ address, key string }

func serveBrain(t *testing.T, h http.Handler) served {
	t.Helper()
	me := testkit.Identity(t)
	s := httptest.NewUnstartedServer(h)
	s.Listener = tls.NewListener(s.Listener, me.Open())
	s.Start()
	t.Cleanup(s.Close)
	return served{s.Listener.Addr().String(), me.Key()}
}

// ticketFor is a ticket of a session, as the launch gave it.
func (g *rig) ticketFor(session string, change ...func(*ticket.Claims)) string {
	g.t.Helper()
	c := ticket.Claims{Session: session, App: "chess", Sites: []string{"east", "west"}}
	for _, ch := range change {
		ch(&c)
	}
	token, _, err := g.signer.Sign(c)
	if err != nil {
		g.t.Fatal(err)
	}
	return token
}

// resumeFor is a resume token as a seat signs it, with a secret of the seat.
func resumeFor(t *testing.T, session, secret string) string {
	t.Helper()
	token, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{"sid": session, "seat": "2f1e", "app": "chess"}).SignedString([]byte(secret))
	if err != nil {
		t.Fatal(err)
	}
	return token
}

const operatorToken = "0123456789abcdef0123456789abcdef"

func withOperator(c *Config) { c.OperatorToken = operatorToken }

// TestSessionTakesItsToken checks who may read and end a session.
func TestSessionTakesItsToken(t *testing.T) {
	g, stranger := newRig(t, withOperator), newRig(t)
	known := &seatOf{session: ticket.NewSessionAt("east")}
	known.resume = resumeFor(t, known.session, "the seat's")
	g.brainsAt(0, serveBrain(t, known))
	path := "/v1/sessions/" + known.session
	old := func(age time.Duration) func(*ticket.Claims) {
		return func(c *ticket.Claims) { c.Issued = time.Now().Add(-age) }
	}
	for name, c := range map[string]struct{ token, kind string }{
		"no token":                {"", wire.ProblemTicket},
		"nonsense":                {"x", wire.ProblemTicket},
		"another key":             {stranger.ticketFor(known.session), wire.ProblemTicket},
		"ticket of another":       {g.ticketFor(ticket.NewSessionAt("east")), wire.ProblemForbidden},
		"ticket of last week":     {g.ticketFor(known.session, old(ticket.SessionFor+2*ticket.TTL)), wire.ProblemTicket},
		"resume token, forged":    {resumeFor(t, known.session, "mine"), wire.ProblemTicket},
		"resume token of another": {resumeFor(t, ticket.NewSessionAt("east"), "the seat's"), wire.ProblemForbidden},
		"operator, wrong":         {operatorToken[:31] + "0", wire.ProblemTicket},
		"its ticket":              {g.ticketFor(known.session), ""},
		"its ticket, expired":     {g.ticketFor(known.session, old(5*time.Hour)), ""},
		"its resume token":        {known.resume, ""},
		"operator":                {operatorToken, ""},
	} {
		t.Run(name, func(t *testing.T) {
			g.t = t
			known.ended.Store(false)
			header := []string{"Authorization", "Bearer " + c.token}
			if c.token == "" {
				header = nil
			}
			if c.kind != "" {
				g.refused(c.kind, "GET", path, nil, header...)
				g.refused(c.kind, "DELETE", path, nil, header...)
				if known.ended.Load() {
					t.Error("the session was ended")
				}
				return
			}
			if view := into[wire.SessionView](g, 200, "GET", path, nil, header...); view.Session != known.session || view.Site != "east" || view.State != "streaming" {
				t.Errorf("%+v", view)
			}
			if res, body := g.call("DELETE", path, nil, header...); res.StatusCode != 204 || !known.ended.Load() {
				t.Errorf("%s %s", res.Status, body)
			}
			g.refused(wire.ProblemNotFound, "GET", path, nil, header...)
		})
	}
	g.t = t
	before := known.asked.Load()
	for _, id := range []string{"s-short", "nobody", "s-" + strings.Repeat("A", 26), "..%2fapps"} {
		g.refused(wire.ProblemNotFound, "GET", "/v1/sessions/"+id, nil)
	}
	if known.asked.Load() != before {
		t.Error("brains are asked for an id that is not a session's")
	}
	// What an operator ends is logged, and no session that somebody asks for.
	for line := range strings.Lines(g.logs.String()) {
		if strings.Contains(line, known.session) && !strings.Contains(line, "a session is ended") || strings.Contains(line, operatorToken) {
			t.Errorf("the log has a session or a token that was asked with: %s", line)
		}
	}
	if _, err := New(Config{Site: "east", URL: "http://a", View: g.view, Signer: g.signer, Verifier: g.router.cfg.Verifier, OperatorToken: "secret"}); err == nil {
		t.Error("a short operator's token passes")
	}
}

// TestSessionAtAnotherSite has two routers, each with a brain of its own site.
func TestSessionAtAnotherSite(t *testing.T) {
	east := newRig(t, withOperator)
	west := newRig(t, withOperator, func(c *Config) {
		c.Site, c.URL = "west", "https://west.example"
		c.Verifier = ticket.NewVerifier(east.signer.Public())
	})
	inEast, inWest := &seatOf{}, &seatOf{session: ticket.NewSessionAt("west")}
	inWest.resume = resumeFor(t, inWest.session, "the seat's")
	for _, g := range []*rig{east, west} {
		g.view.set(func(s *Snapshot) {
			s.Sites[0].Routers[0].URL, s.Sites[1].Routers[0].URL = east.server.URL, west.server.URL
			s.Sites[0].Routers, s.Sites[1].Routers = s.Sites[0].Routers[:1:1], s.Sites[1].Routers[:1:1]
		})
	}
	east.brainsAt(0, serveBrain(t, inEast))
	west.brainsAt(1, serveBrain(t, inWest))

	path := "/v1/sessions/" + inWest.session
	for name, token := range map[string]string{"ticket": east.ticketFor(inWest.session), "resume token": inWest.resume, "operator": operatorToken} {
		if view := into[wire.SessionView](east, 200, "GET", path, nil, "Authorization", "Bearer "+token); view.Site != "west" {
			t.Errorf("%s: %+v", name, view)
		}
	}
	if inEast.asked.Load() != 0 {
		t.Error("a site was asked that the id does not name")
	}
	east.refused(wire.ProblemTicket, "GET", path, nil, "Authorization", "Bearer "+resumeFor(t, inWest.session, "mine"))
	// A forwarded request goes no further, also if a stranger sends it.
	asked := inWest.asked.Load()
	east.refused(wire.ProblemNotFound, "GET", path, nil, "Authorization", "Bearer "+operatorToken, forwardedHeader, "north")
	if inWest.asked.Load() != asked {
		t.Error("a forwarded request was forwarded again")
	}
	if res, _ := east.call("DELETE", path, nil, "Authorization", "Bearer "+operatorToken); res.StatusCode != 204 || !inWest.ended.Load() {
		t.Errorf("%s", res.Status)
	}
	east.refused(wire.ProblemNotFound, "GET", path, nil, "Authorization", "Bearer "+operatorToken)

	// The page went on at the second site of its ticket.
	inWest.session = ticket.NewSessionAt("east")
	inWest.ended.Store(false)
	path = "/v1/sessions/" + inWest.session
	east.refused(wire.ProblemNotFound, "GET", path, nil, "Authorization", "Bearer "+east.ticketFor(inWest.session))
	if view := into[wire.SessionView](west, 200, "GET", path, nil, "Authorization", "Bearer "+east.ticketFor(inWest.session)); view.Site != "west" {
		t.Errorf("%+v", view)
	}

	// The other site is gone.
	west.server.Close()
	path = "/v1/sessions/" + ticket.NewSessionAt("west")
	inWest.session = path[len("/v1/sessions/"):]
	east.refused(wire.ProblemUnavailable, "GET", path, nil, "Authorization", "Bearer "+east.ticketFor(inWest.session))
	east.view.set(func(s *Snapshot) { s.Sites = s.Sites[:1] })
	east.refused(wire.ProblemNotFound, "GET", path, nil, "Authorization", "Bearer "+east.ticketFor(inWest.session))
}

func TestSessionWhenBrainsFail(t *testing.T) {
	known := &seatOf{session: ticket.NewSession()} // an id of an earlier release
	address := serveBrain(t, known)
	broken := serveBrain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(500) }))
	garbage := serveBrain(t, http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { io.WriteString(w, "hello") }))
	redirecting := serveBrain(t, http.RedirectHandler("http://127.0.0.1:1/", http.StatusFound))
	for name, bad := range map[string]served{
		"refuses connections": {"127.0.0.1:1", address.key}, "has another key": {address.address, broken.key}, "has no key": {address.address, ""}, "fails": broken, "talks nonsense": garbage, "redirects": redirecting,
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			g.view.set(func(s *Snapshot) { s.Sites = s.Sites[:1] })
			mine := []string{"Authorization", "Bearer " + g.ticketFor(known.session)}
			g.brainsAt(0, bad, address)
			into[wire.SessionView](g, 200, "GET", "/v1/sessions/"+known.session, nil, mine...)
			g.brainsAt(0, bad)
			g.refused(wire.ProblemUnavailable, "GET", "/v1/sessions/"+known.session, nil, mine...)
		})
	}
	t.Run("site without a brain", func(t *testing.T) {
		g := newRig(t)
		g.view.set(func(s *Snapshot) { s.Sites = s.Sites[:1] })
		g.brainsAt(0)
		g.refused(wire.ProblemUnavailable, "GET", "/v1/sessions/"+known.session, nil, "Authorization", "Bearer "+g.ticketFor(known.session))
	})
}

// TestSlowBrainIsNotWaitedFor checks that one brain that knows is enough.
func TestSlowBrainIsNotWaitedFor(t *testing.T) {
	g := newRig(t)
	release := make(chan struct{})
	known := &seatOf{session: ticket.NewSessionAt("east")}
	slow := serveBrain(t, http.HandlerFunc(func(_ http.ResponseWriter, req *http.Request) {
		select {
		case <-release:
		case <-req.Context().Done():
		}
	}))
	defer close(release)
	g.brainsAt(0, slow, serveBrain(t, known))
	start := time.Now()
	into[wire.SessionView](g, 200, "GET", "/v1/sessions/"+known.session, nil, "Authorization", "Bearer "+g.ticketFor(known.session))
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
		b.Internal, b.Key = slow.address, slow.key
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
	go func() { served <- r.Serve(ctx, l, nil) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 10 * time.Second}
	url := "http://" + l.Addr().String()
	status := make(chan int, 1)
	go func() {
		session := ticket.NewSessionAt("east")
		token, _, err := key.Sign(ticket.Claims{Session: session, App: "chess", Sites: []string{"east"}})
		if err != nil {
			status <- 0
			return
		}
		req, _ := http.NewRequest("GET", url+"/v1/sessions/"+session, nil)
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := client.Do(req)
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
	if err := r.Serve(t.Context(), l, nil); !errors.Is(err, net.ErrClosed) {
		t.Errorf("%v", err)
	}
}
