package router

import (
	"bytes"
	"encoding/base64"
	"encoding/json"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/oauth2-proxy/mockoidc"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// loginRig is a router whose people a real provider knows, and a browser without scripts.
type loginRig struct {
	*rig
	provider *mockoidc.MockOIDC
	client   *http.Client
	url      string
}

// newLoginRig has chess ask for a login.
func newLoginRig(t *testing.T, of wire.AppLogin, change ...func(*Config)) *loginRig {
	t.Helper()
	provider, err := mockoidc.Run()
	testkit.Must(t, err)
	t.Cleanup(func() { _ = provider.Shutdown() })
	l := &loginRig{provider: provider}
	// The router has to know its address before it serves.
	server := httptest.NewUnstartedServer(nil)
	l.url = "http://" + server.Listener.Addr().String()
	l.rig = newRig(t, func(c *Config) {
		c.URL = l.url
		c.Login = LoginConfig{Issuer: provider.Issuer(), ClientID: provider.ClientID, ClientSecret: provider.ClientSecret,
			Scopes: []string{"groups"}, Claim: "groups", Lasts: time.Hour, Sessions: 2}
		for _, f := range change {
			f(c)
		}
	})
	server.Config.Handler = l.router
	server.Start()
	t.Cleanup(server.Close)
	l.server.Close()
	l.server = server
	l.login(of, 0, 1)
	l.fresh()
	return l
}

// login has chess ask for a login at these sites.
func (l *loginRig) login(of wire.AppLogin, sites ...int) {
	l.sign(wire.AccessLogin, sites...)
	l.view.set(func(s *Snapshot) {
		for _, i := range sites {
			app := s.Sites[i].Apps["chess"]
			app.Login = of
			s.Sites[i].Apps["chess"] = app
		}
	})
}

// fresh is another browser.
func (l *loginRig) fresh() {
	jar, _ := cookiejar.New(nil)
	l.client = &http.Client{Jar: jar, Transport: &http.Transport{DisableKeepAlives: true}}
}

func (l *loginRig) user(groups ...string) {
	l.provider.QueueUser(&mockoidc.MockUser{Subject: "4711", PreferredUsername: "ada", Groups: groups})
}

// open goes to the login and follows to where it ends; with until it stops before that path, and always before
// it leaves router and provider.
func (l *loginRig) open(address, until string) *url.URL {
	l.t.Helper()
	var stopped *url.URL
	l.client.CheckRedirect = func(req *http.Request, _ []*http.Request) error {
		if elsewhere := req.URL.String(); req.URL.Path == until || !strings.HasPrefix(elsewhere, l.url+"/") && !strings.HasPrefix(elsewhere, l.provider.Issuer()+"/") {
			stopped = req.URL
			return http.ErrUseLastResponse
		}
		return nil
	}
	defer func() { l.client.CheckRedirect = nil }()
	res, err := l.client.Get(address)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	if stopped != nil {
		return stopped
	}
	// The fragment is not in the last request.
	if res.Request.Response != nil {
		if to, err := res.Request.Response.Location(); err == nil {
			return to
		}
	}
	return res.Request.URL
}

// token asks for a login token, as the page does.
func (l *loginRig) token(app string, header ...string) (int, wire.PersonToken, wire.Problem) {
	l.t.Helper()
	status, body := l.post("/login/token?app="+url.QueryEscape(app), header...)
	var token wire.PersonToken
	var p wire.Problem
	if status == http.StatusOK {
		testkit.Must(l.t, json.Unmarshal(body, &token))
	} else {
		testkit.Must(l.t, json.Unmarshal(body, &p))
	}
	return status, token, p
}

func (l *loginRig) post(path string, header ...string) (int, []byte) {
	l.t.Helper()
	req, _ := http.NewRequestWithContext(l.t.Context(), http.MethodPost, l.url+path, nil)
	req.Header.Set("Origin", l.url)
	for i := 0; i+1 < len(header); i += 2 {
		req.Header.Set(header[i], header[i+1])
	}
	res, err := l.client.Do(req)
	if err != nil {
		l.t.Fatal(err)
	}
	defer res.Body.Close()
	body, _ := io.ReadAll(res.Body)
	checkDocumented(l.t, req, nil, res, body)
	return res.StatusCode, body
}

func (l *loginRig) cookie(name string) string {
	l.t.Helper()
	at, _ := url.Parse(l.url)
	for _, c := range l.client.Jar.Cookies(at) {
		if c.Name == name {
			return c.Value
		}
	}
	l.t.Fatalf("the browser has no cookie %s", name)
	return ""
}

// keep changes what the browser keeps of the login that has begun.
func (l *loginRig) keep(change func(map[string]string)) {
	l.t.Helper()
	at, _ := url.Parse(l.url)
	for _, c := range l.client.Jar.Cookies(at) {
		if !strings.HasPrefix(c.Name, "nearcast-login-") {
			continue
		}
		text, _ := base64.RawURLEncoding.DecodeString(c.Value)
		var b map[string]string
		testkit.Must(l.t, json.Unmarshal(text, &b))
		change(b)
		text, _ = json.Marshal(b)
		l.client.Jar.SetCookies(at, []*http.Cookie{{Name: c.Name, Value: base64.RawURLEncoding.EncodeToString(text), Path: "/"}})
	}
}

func payload(t *testing.T, token string) string {
	t.Helper()
	text, err := base64.RawURLEncoding.DecodeString(strings.Split(token, ".")[1])
	testkit.Must(t, err)
	return string(bytes.TrimSpace(text))
}

func setQuery(u *url.URL, name, value string) {
	q := u.Query()
	q.Set(name, value)
	u.RawQuery = q.Encode()
}
