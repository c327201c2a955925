package router

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/answer"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestEveryPublicAnswer walks over all routes, in right and wrong ways: each answer has
// the security headers, and each error is a problem.
func TestEveryPublicAnswer(t *testing.T) {
	g := newRig(t, func(c *Config) { c.FrameAncestors = []string{"https://shop.example"} })
	seen := 0
	ask := func(method, path, body string, header ...string) (status int) {
		t.Helper()
		req, err := http.NewRequest(method, g.server.URL+path, strings.NewReader(body))
		if err != nil {
			t.Fatal(err)
		}
		for i := 0; i+1 < len(header); i += 2 {
			req.Header.Set(header[i], header[i+1])
		}
		res, err := g.server.Client().Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		seen++
		for name, want := range map[string]string{
			"X-Content-Type-Options": "nosniff", "Referrer-Policy": "no-referrer",
			"Strict-Transport-Security": "max-age=31536000", "Cross-Origin-Resource-Policy": "cross-origin",
			"Access-Control-Allow-Origin": "*",
		} {
			if got := res.Header.Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", method, path, name, got, want)
			}
		}
		policy := strings.Split(res.Header.Get("Content-Security-Policy"), "; ")
		rules := map[string]string{}
		for _, rule := range policy {
			name, value, _ := strings.Cut(rule, " ")
			rules[name] = value
		}
		for name, want := range map[string]string{
			"default-src": "'self'", "object-src": "'none'", "base-uri": "'none'", "form-action": "'none'",
			"frame-ancestors": "https://shop.example", "connect-src": "'self' https: wss:",
			"img-src": "'self' data: https: http:", "media-src": "'self' blob: mediastream:",
		} {
			if rules[name] != want {
				t.Errorf("%s %s: %s is %q, want %q", method, path, name, rules[name], want)
			}
			delete(rules, name)
		}
		if len(rules) > 0 {
			t.Errorf("%s %s: the policy has rules that no test knows: %v", method, path, rules)
		}
		if strings.Contains(res.Header.Get("Content-Security-Policy"), "unsafe") || res.Header.Get("Set-Cookie") != "" || res.Header.Get("Server") != "" {
			t.Errorf("%s %s: %v", method, path, res.Header)
		}
		if res.StatusCode < 400 {
			return res.StatusCode
		}
		var p wire.Problem
		if res.Header.Get("Content-Type") != wire.ProblemType || res.Header.Get("Cache-Control") != "no-store" {
			t.Errorf("%s %s: %s is %q, %q", method, path, res.Status, res.Header.Get("Content-Type"), res.Header.Get("Cache-Control"))
		}
		if method == http.MethodHead {
			return res.StatusCode
		}
		if err := json.Unmarshal(text, &p); err != nil || p.Type == "" || p.Title == "" || p.Detail == "" || p.Status != res.StatusCode {
			t.Errorf("%s %s: %s: %s", method, path, res.Status, text)
		}
		if _, known := kinds[p.Type]; !known {
			t.Errorf("%s %s: nothing explains %s", method, path, p.Type)
		}
		return res.StatusCode
	}
	fill := strings.NewReplacer(":id", ticket.NewSessionAt("east"), ":app", "chess", ":kind", "rate", "*", "no/such/file.js")
	for _, route := range g.router.echo.Routes() {
		path := fill.Replace(route.Path)
		for _, method := range []string{"GET", "HEAD", "POST", "PUT", "PATCH", "DELETE", "OPTIONS", "TRACE", "BREW"} {
			ask(method, path, "")
		}
		if status := ask(route.Method, path, "", "X-Long", strings.Repeat("x", answer.MaxHeader)); status != 431 {
			t.Errorf("%s %s with long headers: %d", route.Method, path, status)
		}
		ask(route.Method, path, "", "Authorization", "Bearer nonsense")
		ask(route.Method, path, strings.Repeat("x", wire.MaxBody+1), "Content-Type", "application/json") // 413
	}
	for _, path := range []string{"/metrics", "/v1/queues", "/v1/failing", "/debug/pprof/", "/.hidden", "/web.go", "/assets", "/%2e%2e/%2e%2e/etc/passwd", "/problems/none"} {
		ask("GET", path, "")
	}
	if status := ask("GET", "/assets/js/play.js", "", "Range", "bytes=900-"); status != 416 {
		t.Errorf("a range beyond the end: %d", status)
	}
	if seen < 200 {
		t.Errorf("only %d answers", seen)
	}
}

// TestPublicListenerHasNoMetrics checks what each of the two listeners serves.
func TestPublicListenerHasNoMetrics(t *testing.T) {
	for name, change := range map[string]func(*Config){"with pages": func(*Config) {}, "API alone": func(c *Config) { c.Web = nil }} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t, change)
			g.refused(wire.ProblemNotFound, "GET", "/metrics", nil)
			for path, want := range map[string]int{"/metrics": 200, "/healthz": 200, "/v1/apps": 404, "/": 404} {
				w := httptest.NewRecorder()
				g.router.Internal().ServeHTTP(w, httptest.NewRequest("GET", path, nil))
				if w.Code != want {
					t.Errorf("internal %s: %d, want %d", path, w.Code, want)
				}
				if kind := w.Header().Get("Content-Type"); want == 404 && kind != wire.ProblemType {
					t.Errorf("internal %s: the error is %s", path, kind)
				}
			}
		})
	}
}

// TestPublicAnswersNameNothing checks that a site's words about failures pass through the
// router as the brain shortened them, and that the router adds nothing of its own.
func TestPublicAnswersNameNothing(t *testing.T) {
	g := newRig(t)
	end := wire.End{Reason: wire.ReasonError, Code: wire.CodeContentMissing, Detail: "no object s3://models/king.glb on node-7"}
	g.view.set(func(s *Snapshot) {
		for i := range s.Sites {
			c := capacity(0, 0)
			c.Failing = end.Public().String()
			s.Sites[i].Apps = map[string]wire.App{"chess": app("chess", 3, c)}
			s.Sites[i].Brains[0].Internal, s.Sites[i].Routers[0].Internal = "10.0.0.7:8091", "10.0.0.7:8090"
		}
	})
	for _, path := range []string{"/v1/apps", "/v1/sites", "/v1/sites?distances=all", "/healthz"} {
		_, body := g.call("GET", path, nil)
		for _, secret := range []string{"s3://", "node-7", "10.0.0.7", "127.0.0.1:1"} {
			if strings.Contains(string(body), secret) {
				t.Errorf("GET %s tells %q: %s", path, secret, body)
			}
		}
	}
	p := g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", `{"app":"chess"}`)
	if strings.Contains(p.Detail, "s3://") || strings.Contains(p.Detail, "node-7") || !strings.Contains(p.Detail, wire.CodeContentMissing) {
		t.Errorf("%+v", p)
	}
}
