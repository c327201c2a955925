package brain_test

import (
	"encoding/json"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestPublicListener asks for everything that is not for everybody, and in every
// wrong way: the answer is a problem, with the headers that keep a browser from
// taking it for anything else.
func TestPublicListener(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1})
	b := s.brain("b1")
	_, session := s.ticket("game", 0)
	ask := func(method, url string, header ...string) (*http.Response, wire.Problem, string) {
		t.Helper()
		req, err := http.NewRequest(method, url, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := asRouter().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		body, _ := io.ReadAll(res.Body)
		var p wire.Problem
		json.Unmarshal(body, &p)
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer", "Cache-Control": "no-store",
			"Content-Security-Policy": "default-src 'none'; frame-ancestors 'none'",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", method, url, name, got, want)
			}
		}
		return res, p, string(body)
	}
	for _, c := range []struct {
		method, path string
		status       int
		header       []string
	}{
		{"GET", "/metrics", 404, nil}, {"GET", wire.LinePath, 404, nil}, {"GET", wire.FeedPath, 404, nil}, {"GET", "/v1/failing", 404, nil}, {"GET", wire.DemandPath, 404, nil},
		{"GET", wire.SessionsPath, 404, nil}, {"GET", "/v1/sessions/" + session, 404, nil}, {"DELETE", "/v1/sessions/" + session, 404, nil},
		{"GET", "/debug/pprof/", 404, nil}, {"GET", "/", 404, nil},
		{"POST", "/v1/connect", 405, nil}, {"DELETE", "/healthz", 405, nil},
		{"GET", "/v1/connect", 426, nil},
		{"GET", "/v1/connect", 426, []string{"Connection", "Upgrade", "Upgrade", "h2c"}},
		{"GET", "/v1/connect", 400, []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "12"}},
		{"GET", "/v1/connect", 400, []string{"Connection", "Upgrade", "Upgrade", "websocket", "Sec-WebSocket-Version", "13"}},
		{"GET", "/healthz", 431, []string{"X-Long", strings.Repeat("x", 20<<10)}},
	} {
		res, p, body := ask(c.method, b.url+c.path, c.header...)
		if res.StatusCode != c.status || res.Header.Get("Content-Type") != wire.ProblemType || p.Status != c.status || p.Type == "" || p.Detail == "" {
			t.Errorf("%s %s: %s %s", c.method, c.path, res.Status, body)
		}
	}
	if res, _, body := ask("GET", b.url+"/healthz"); res.StatusCode != 200 {
		t.Errorf("healthz: %s %s", res.Status, body)
	}
	for _, path := range []string{"/healthz", "/v1/failing"} {
		if res, _, body := ask("GET", b.internal+path); res.StatusCode != 200 {
			t.Errorf("internal %s: %s %s", path, res.Status, body)
		}
	}
	// The line is for brains, the feed for nodes, the demand for the autoscaler, and the
	// sessions for routers.
	for _, path := range []string{wire.LinePath, wire.FeedPath, wire.DemandPath} {
		if res, p, body := ask("GET", b.internal+path); res.StatusCode != 403 || p.Type != wire.ProblemForbidden {
			t.Errorf("a router asks for %s: %s %s", path, res.Status, body)
		}
	}
	for name, who := range map[string]*identity.Identity{"a brain": b.me, "a stranger": testkit.Identity(t)} {
		for _, c := range [][2]string{{"GET", wire.SessionsPath}, {"GET", wire.SessionsPath + "/" + session}, {"DELETE", wire.SessionsPath + "/" + session}} {
			req, err := http.NewRequest(c[0], b.internal+c[1], nil)
			testkit.Must(t, err)
			res, err := as(who).Do(req)
			testkit.Must(t, err)
			res.Body.Close()
			if res.StatusCode != 403 {
				t.Errorf("%s, %s %s: %s", name, c[0], c[1], res.Status)
			}
		}
	}
	autoscaler := testkit.Identity(t)
	defer s.fleet.RegisterCaller(s.ctx, wire.AutoscalerService, "one", autoscaler.Key()).Close()
	s.until("the autoscaler is told", func() bool {
		res, err := as(autoscaler).Get(b.internal + wire.DemandPath)
		testkit.Must(t, err)
		defer res.Body.Close()
		var d wire.Demand
		err = json.NewDecoder(res.Body).Decode(&d)
		return res.StatusCode == 200 && err == nil && d.Known && d.Brain == "b1" && len(d.Apps) == 1 && d.Apps[0].App == "game"
	})
	if res, p, body := ask("POST", b.internal+wire.LinePath); res.StatusCode != 405 || p.Status != 405 {
		t.Errorf("internal: %s %s", res.Status, body)
	}
}

// TestSessionByResumeToken checks that the seat decides on a resume token, which only it
// can check, and that a router's own word needs no token.
func TestSessionByResumeToken(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	p, waiting := s.play(b, "game"), (*person)(nil)
	grant := p.expect(wire.MsgGranted).Grant
	s.until("the session is shown", func() bool {
		status, _ := call(t, http.MethodGet, b.internal+"/v1/sessions/"+p.session)
		return status == 200
	})
	waiting = s.play(b, "game")
	waiting.expect(wire.MsgQueued)
	ask := func(method, session, token string) int {
		t.Helper()
		req, err := http.NewRequest(method, b.internal+"/v1/sessions/"+session, nil)
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Authorization", "Bearer "+token)
		res, err := asRouter().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		res.Body.Close()
		return res.StatusCode
	}
	for _, c := range []struct {
		method, session, token string
		want                   int
	}{
		{"GET", p.session, grant.Resume, 200}, {"GET", p.session, grant.Resume + "x", 401}, {"DELETE", p.session, "x", 401},
		{"GET", waiting.session, grant.Resume, 401}, {"DELETE", waiting.session, grant.Resume, 401},
		{"DELETE", p.session, grant.Resume, 204},
	} {
		if got := ask(c.method, c.session, c.token); got != c.want {
			t.Errorf("%s with %q: %d, want %d", c.method, c.token, got, c.want)
		}
	}
	if end := p.expect(wire.MsgEnded).End; end.Reason != wire.ReasonLeft {
		t.Errorf("ended %v", end)
	}
}

// TestSessionEndsWhileOthersWait plays it with real sockets: the second person gets the
// seat that the first one would keep.
func TestSessionEndsWhileOthersWait(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Max: 1, Access: wire.AccessPublic, MaxWhenQueued: time.Second})
	s.nomad.placed = s.ready
	b := s.brain("b1")
	first := s.play(b, "game")
	first.expect(wire.MsgAnswer)
	begin := time.Now()
	second := s.play(b, "game")
	if told := first.expect(wire.MsgEnding).Ending; told.Reason != wire.ReasonTimeLimit || told.AfterS != 1 {
		t.Errorf("told %+v", told)
	}
	if end := first.expect(wire.MsgEnded).End; end.Reason != wire.ReasonTimeLimit {
		t.Errorf("ended %v", end)
	}
	second.expect(wire.MsgGranted)
	t.Logf("the second person has a seat after %v", time.Since(begin))
}
