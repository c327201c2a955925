package login

import (
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/nearcast/nearcast/internal/wire"
)

// rig is a console's login before a real provider.
type rig struct {
	t        *testing.T
	provider *mockoidc.MockOIDC
	server   *httptest.Server
	sessions *Sessions
	client   *http.Client
	noted    []string
}

func newRig(t *testing.T, lasts time.Duration) *rig {
	t.Helper()
	provider, err := mockoidc.Run()
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = provider.Shutdown() })
	r := &rig{t: t, provider: provider}
	mux := http.NewServeMux()
	r.server = httptest.NewServer(mux)
	t.Cleanup(r.server.Close)
	r.sessions = NewSessions(SessionsConfig{URL: r.server.URL, Lasts: lasts})
	method, err := NewOIDC(OIDCConfig{Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret, URL: r.server.URL,
		Scopes: []string{"groups"}, Claim: "groups", Roles: map[wire.ConsoleRole][]string{wire.RoleViewer: {"staff"}, wire.RoleOperator: {"oncall"}, wire.RoleAdmin: {"leads"}},
		Noted: func(_ *http.Request, p Person, why string) { r.noted = append(r.noted, string(p.Role)+":"+why) }})
	if err != nil {
		t.Fatal(err)
	}
	mux.HandleFunc("GET /console/login", method.Begin(r.sessions))
	mux.HandleFunc("GET /console/callback", method.Finish(r.sessions))
	mux.HandleFunc("GET "+wire.ConsoleEnteredPath, r.sessions.Entered)
	mux.HandleFunc("GET /console", func(rw http.ResponseWriter, req *http.Request) {
		s, ok := r.sessions.Of(req)
		if !ok {
			http.Error(rw, "nobody", http.StatusUnauthorized)
			return
		}
		_, _ = io.WriteString(rw, s.Subject+" "+string(s.Role))
	})
	jar, _ := cookiejar.New(nil)
	r.client = &http.Client{Jar: jar}
	return r
}

func user(groups ...string) *mockoidc.MockUser {
	return &mockoidc.MockUser{Subject: "4711", PreferredUsername: "ada", Groups: groups}
}

// get follows redirects, unless stop says so.
func (r *rig) get(path string) (int, string) {
	r.t.Helper()
	res, err := r.client.Get(r.server.URL + path)
	if err != nil {
		r.t.Fatal(err)
	}
	defer res.Body.Close()
	text, _ := io.ReadAll(res.Body)
	return res.StatusCode, string(text)
}

// begin begins a login and gives the address of the callback, without going there.
func (r *rig) begin() *url.URL {
	r.t.Helper()
	var callback *url.URL
	r.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if req.URL.Path == "/console/callback" {
			callback = req.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	r.get("/console/login?next=/console%3Fsite=x")
	r.client.CheckRedirect = nil
	if callback == nil {
		r.t.Fatal("the provider did not send the person back")
	}
	return callback
}

func TestLogin(t *testing.T) {
	for _, c := range []struct {
		groups []string
		want   string
	}{
		{[]string{"staff"}, "4711 viewer"},
		{[]string{"oncall", "staff"}, "4711 operator"},
		{[]string{"staff", "leads"}, "4711 admin"},
	} {
		r := newRig(t, time.Hour)
		r.provider.QueueUser(user(c.groups...))
		if status, text := r.get("/console/login"); status != http.StatusOK || text != c.want {
			t.Errorf("%v: %d %q, want %q", c.groups, status, text, c.want)
		}
	}
	r := newRig(t, time.Hour)
	r.provider.QueueUser(user("guests"))
	if status, text := r.get("/console/login"); status != http.StatusForbidden || !strings.Contains(text, "none of the groups") {
		t.Errorf("without a role: %d %s", status, text)
	}
	if status, _ := r.get("/console"); status != http.StatusUnauthorized {
		t.Errorf("who has no role is logged in: %d", status)
	}
	if len(r.noted) != 1 || !strings.Contains(r.noted[0], "none of the claim") {
		t.Errorf("noted: %q", r.noted)
	}
}

func TestCallbackThatIsNoAnswer(t *testing.T) {
	for name, c := range map[string]struct {
		change func(r *rig, callback *url.URL)
		status int
		why    string
	}{
		"wrong state": {func(_ *rig, u *url.URL) { set(u, "state", "x"+u.Query().Get("state")) }, http.StatusBadRequest, "wrong state"},
		// The cookie's name is of the first letters of the state.
		"state with another end": {func(_ *rig, u *url.URL) { set(u, "state", u.Query().Get("state")+"x") }, http.StatusBadRequest, "wrong state"},
		"another browser":        {func(r *rig, _ *url.URL) { r.client.Jar, _ = cookiejar.New(nil) }, http.StatusBadRequest, "wrong state"},
		"wrong nonce":            {func(r *rig, u *url.URL) { r.keep(u, func(b *attempt) { b.Nonce = "another" }) }, http.StatusBadRequest, "wrong nonce"},
		"wrong PKCE verifier":    {func(r *rig, u *url.URL) { r.keep(u, func(b *attempt) { b.Verifier = strings.Repeat("v", 43) }) }, http.StatusBadGateway, "exchange the code"},
		"wrong code":             {func(_ *rig, u *url.URL) { set(u, "code", "none") }, http.StatusBadGateway, "exchange the code"},
		"refused by provider":    {func(_ *rig, u *url.URL) { set(u, "error", "access_denied") }, http.StatusForbidden, "access_denied"},
		"expired ID token":       {func(r *rig, _ *url.URL) { r.provider.AccessTTL = -time.Hour; r.provider.FastForward(-2 * time.Hour) }, http.StatusBadGateway, "expired"},
		"nothing changed":        {func(*rig, *url.URL) {}, http.StatusOK, ""},
	} {
		t.Run(name, func(t *testing.T) {
			r := newRig(t, time.Hour)
			r.provider.QueueUser(user("leads"))
			callback := r.begin()
			c.change(r, callback)
			status, text := r.get(callback.RequestURI())
			if status != c.status {
				t.Errorf("status %d, want %d: %s", status, c.status, text)
			}
			if len(r.noted) != 1 || !strings.Contains(r.noted[0], c.why) {
				t.Errorf("noted %q, want %q", r.noted, c.why)
			}
			in, _ := r.get("/console")
			if (in == http.StatusOK) != (c.why == "") {
				t.Errorf("logged in: %d", in)
			}
			if c.why != "" {
				return
			}
			// It is good once.
			if status, _ := r.get(callback.RequestURI()); status != http.StatusBadRequest {
				t.Errorf("the callback came twice: %d", status)
			}
		})
	}
}

// TestFailuresAreFew: who does not log in cannot fill the audit log, and keeps nobody else out.
func TestFailuresAreFew(t *testing.T) {
	r := newRig(t, time.Hour)
	for range 100 {
		if status, _ := r.get("/console/callback?state=none"); status != http.StatusBadRequest {
			t.Fatalf("status %d", status)
		}
	}
	if n := len(r.noted); n < 1 || n > 20 {
		t.Errorf("%d of 100 failures are noted", n)
	}
	r.provider.QueueUser(user("staff"))
	if status, text := r.get("/console/login"); status != http.StatusOK || text != "4711 viewer" {
		t.Errorf("after them: %d %s", status, text)
	}
}

// TestSilentProvider: a provider that does not answer is asked once for all who come meanwhile.
func TestSilentProvider(t *testing.T) {
	asked := 0
	provider := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		asked++
		rw.WriteHeader(http.StatusServiceUnavailable)
	}))
	defer provider.Close()
	method, err := NewOIDC(OIDCConfig{Issuer: provider.URL, ClientID: "console", URL: "http://localhost", Claim: "groups", Roles: map[wire.ConsoleRole][]string{wire.RoleViewer: {"staff"}}})
	if err != nil {
		t.Fatal(err)
	}
	begin := method.Begin(NewSessions(SessionsConfig{URL: "http://localhost", Lasts: time.Hour}))
	for range 5 {
		rw := httptest.NewRecorder()
		if begin(rw, httptest.NewRequest("GET", "/console/login", nil)); rw.Code != http.StatusBadGateway {
			t.Errorf("status %d", rw.Code)
		}
	}
	if asked != 1 {
		t.Errorf("the provider was asked %d times", asked)
	}
}

// attempt is what the browser keeps of a login that has begun; see internal/login.
type attempt struct {
	State    string `json:"state"`
	Nonce    string `json:"nonce"`
	Verifier string `json:"verifier"`
	Next     string `json:"next"`
}

func set(u *url.URL, name, value string) {
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
}

// keep changes what the browser keeps of the login that has attempt.
func (r *rig) keep(callback *url.URL, change func(*attempt)) {
	r.t.Helper()
	at, _ := url.Parse(r.server.URL)
	for _, c := range r.client.Jar.Cookies(at) {
		if !strings.HasPrefix(c.Name, "nearcast-login-") {
			continue
		}
		text, _ := base64.RawURLEncoding.DecodeString(c.Value)
		var b attempt
		if err := json.Unmarshal(text, &b); err != nil {
			r.t.Fatal(err)
		}
		change(&b)
		text, _ = json.Marshal(b)
		r.client.Jar.SetCookies(at, []*http.Cookie{{Name: c.Name, Value: base64.RawURLEncoding.EncodeToString(text), Path: "/"}})
	}
}

func TestSessionEnds(t *testing.T) {
	now := time.Now()
	s := NewSessions(SessionsConfig{URL: "https://console.example", Lasts: time.Hour, Now: func() time.Time { return now }})
	rw := httptest.NewRecorder()
	one := s.Start(rw, Person{Subject: "a", Role: wire.RoleViewer})
	cookie := rw.Result().Cookies()[0]
	if cookie.Name != "__Host-nearcast-console" || !cookie.HttpOnly || !cookie.Secure || cookie.SameSite != http.SameSiteLaxMode || cookie.Path != "/" || cookie.Domain != "" {
		t.Errorf("the cookie is %+v", cookie)
	}
	req := httptest.NewRequest(http.MethodGet, "/console", nil)
	req.AddCookie(cookie)
	if got, ok := s.Of(req); !ok || got != one {
		t.Fatal("the login is not known by its cookie")
	}
	req.Header.Set(wire.ConsoleCSRFHeader, one.CSRF)
	if !one.Allows(req) {
		t.Error("the login's own CSRF token is refused")
	}
	req.Header.Set(wire.ConsoleCSRFHeader, "")
	if one.Allows(req) {
		t.Error("a request without the CSRF token is taken")
	}
	now = now.Add(time.Hour)
	if _, ok := s.Of(req); ok {
		t.Error("the login is taken after its time")
	}
	select {
	case <-one.Done():
	default:
		t.Error("the login is over, and its streams go on")
	}
	// A person's logins are bounded, and so are all.
	now = time.Now()
	for range 2 * maxOf {
		s.Start(httptest.NewRecorder(), Person{Subject: "a"})
	}
	if n := len(s.all); n != maxOf {
		t.Errorf("one person has %d logins, want %d", n, maxOf)
	}
}

func TestTokenLogin(t *testing.T) {
	const token = "0123456789abcdef0123456789abcdef"
	if _, err := NewToken("short", wire.RoleAdmin, nil); err == nil {
		t.Error("a short token is taken")
	}
	var noted []string
	method, err := NewToken(token, wire.RoleOperator, func(_ *http.Request, p Person, why string) { noted = append(noted, string(p.Role)+":"+why) })
	if err != nil {
		t.Fatal(err)
	}
	s := NewSessions(SessionsConfig{URL: "http://localhost:8070", Lasts: time.Hour})
	post := func(form url.Values) *http.Response {
		req := httptest.NewRequest(http.MethodPost, "/console/login", strings.NewReader(form.Encode()))
		req.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		rw := httptest.NewRecorder()
		method.Finish(s)(rw, req)
		return rw.Result()
	}
	if res := post(url.Values{"token": {"wrong"}}); res.StatusCode != http.StatusUnauthorized || len(res.Cookies()) != 0 {
		t.Errorf("a wrong token: %s", res.Status)
	}
	for to, want := range map[string]string{"/console?site=a": "/console?site=a", "https://evil.example/console": "/console", "//evil.example/console": "/console", "/consoles": "/console", "/\\evil.example": "/console"} {
		res := post(url.Values{"token": {token}, "next": {to}})
		if res.StatusCode != http.StatusSeeOther || !strings.HasPrefix(res.Header.Get("Location"), wire.ConsoleEnteredPath+"?") || len(res.Cookies()) != 1 {
			t.Errorf("next %q: %s to %q", to, res.Status, res.Header.Get("Location"))
			continue
		}
		req := httptest.NewRequest(http.MethodGet, res.Header.Get("Location"), nil)
		req.AddCookie(res.Cookies()[0])
		rw := httptest.NewRecorder()
		if s.Entered(rw, req); rw.Code != http.StatusSeeOther || rw.Header().Get("Location") != want {
			t.Errorf("next %q: then %d to %q, want %q", to, rw.Code, rw.Header().Get("Location"), want)
		}
		req.Header.Del("Cookie")
		rw = httptest.NewRecorder()
		if s.Entered(rw, req); rw.Code != http.StatusBadRequest || !strings.Contains(rw.Body.String(), noCookies) {
			t.Errorf("without the cookie: %d %s", rw.Code, rw.Body)
		}
	}
	if noted[0] != ":wrong token" || noted[1] != "operator:" {
		t.Errorf("noted %q", noted)
	}
	for range 20 {
		post(url.Values{"token": {"wrong"}})
	}
	if res := post(url.Values{"token": {token}}); res.StatusCode != http.StatusTooManyRequests {
		t.Errorf("after many tries: %s", res.Status)
	}
}

// forgetful is a browser that does not keep the cookies whose names begin so.
type forgetful struct {
	http.CookieJar
	name string
}

func (f forgetful) SetCookies(u *url.URL, cookies []*http.Cookie) {
	f.CookieJar.SetCookies(u, slices.DeleteFunc(slices.Clone(cookies), func(c *http.Cookie) bool { return strings.HasPrefix(c.Name, f.name) }))
}

// TestNoCookies: a browser that does not keep our cookies is told so, once: it is not sent back and forth
// between the console and a provider that knows the person.
func TestNoCookies(t *testing.T) {
	for name, c := range map[string]struct{ keepsNot, says string }{
		"no cookie at all":      {"nearcast-", "your browser keeps no cookies of this console"},
		"not that of the login": {"nearcast-console", noCookies},
	} {
		r := newRig(t, time.Hour)
		r.provider.QueueUser(user("staff"))
		r.client.Jar = forgetful{r.client.Jar, c.keepsNot}
		requests := 0
		r.client.CheckRedirect = func(*http.Request, []*http.Request) error { requests++; return nil }
		if status, text := r.get("/console/login?next=/console%3Fsite=x"); status != http.StatusBadRequest || !strings.Contains(text, c.says) || requests > 5 {
			t.Errorf("%s: %d after %d redirects: %s", name, status, requests, text)
		}
	}
	r := newRig(t, time.Hour)
	r.provider.QueueUser(user("staff"))
	var last string
	r.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error { last = req.URL.RequestURI(); return nil }
	if status, text := r.get("/console/login?next=/console%3Fsite=x"); status != http.StatusOK || text != "4711 viewer" || last != "/console?site=x" {
		t.Errorf("with cookies: %d at %s: %s", status, last, text)
	}
}

// TestStreamsOfAPerson: one person does not have all streams, however often they log in, and ends of streams
// count.
func TestStreamsOfAPerson(t *testing.T) {
	s := NewSessions(SessionsConfig{URL: "http://localhost", Lasts: time.Hour})
	var done []func()
	for range 10 {
		one := s.Start(httptest.NewRecorder(), Person{Subject: "ada"})
		of := 0
		for range 2 * maxStreams {
			if end, ok := s.Stream(one); ok {
				of++
				done = append(done, end)
			}
		}
		if of > maxStreams {
			t.Errorf("a login has %d streams", of)
		}
	}
	if len(done) != maxStreamsOf {
		t.Errorf("a person has %d streams, %d at most", len(done), maxStreamsOf)
	}
	if _, ok := s.Stream(s.Start(httptest.NewRecorder(), Person{Subject: "bob"})); !ok {
		t.Error("another person has none")
	}
	done[0]()
	if _, ok := s.Stream(s.Start(httptest.NewRecorder(), Person{Subject: "ada"})); !ok {
		t.Error("a stream that ended still counts")
	}
	for _, end := range done[1:] {
		end()
	}
	if n := s.streams["ada"]; n != 1 {
		t.Errorf("%d streams are counted, one is there", n)
	}
}
