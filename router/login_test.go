package router

import (
	"encoding/base64"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestLoginOfAnApp(t *testing.T) {
	l := newLoginRig(t, wire.AppLogin{Groups: []string{"staff"}, Subjects: []string{"815"}})
	for _, header := range [][]string{nil, {"Origin", "https://shop.example"}} {
		p := l.refused(wire.ProblemLogin, "POST", "/v1/sessions", playChess, header...)
		if !strings.Contains(p.Detail, l.url+"/play/chess") {
			t.Errorf("%q does not say where to log in", p.Detail)
		}
	}
	l.refused(wire.ProblemLogin, "GET", "/v1/apps/chess", nil)
	if list := into[wire.AppsResponse](l.rig, 200, "GET", "/v1/apps", nil); len(list.Apps) != 1 {
		t.Errorf("%+v lists an app that asks for a login", list)
	}
	if !into[wire.SitesResponse](l.rig, 200, "GET", "/v1/sites", nil).Login {
		t.Error("the router does not say that it has a login")
	}
	if status, _, p := l.token("chess"); status != http.StatusUnauthorized || p.Type != wire.ProblemLogin {
		t.Errorf("before the login: %d %+v", status, p)
	}

	l.user("staff", "others")
	to := l.open(l.url+"/login?app=chess&query="+url.QueryEscape("model=bridge&x=%2F"), "")
	if to.String() != l.url+"/play/chess?model=bridge&x=%2F" && to.String() != "/play/chess?model=bridge&x=%2F" {
		t.Errorf("the person comes back to %s", to)
	}
	cookie := l.cookie("nearcast-login")
	if strings.Contains(payload(t, cookie), "staff") || strings.Contains(payload(t, cookie), "others") {
		t.Error("the browser has the names of groups")
	}
	status, token, p := l.token("chess")
	if status != http.StatusOK || token.Name != "ada" || time.Until(token.Expires) > ticket.LoginTokenTTL {
		t.Fatalf("%d %+v %+v", status, token, p)
	}
	bearer := "Bearer " + token.Token
	if view := into[wire.AppView](l.rig, 200, "GET", "/v1/apps/chess", nil, "Authorization", bearer); view.Title != "Chess" {
		t.Errorf("%+v", view)
	}
	claims := l.claims(into[wire.LaunchResponse](l.rig, 201, "POST", "/v1/sessions", playChess, "Authorization", bearer))
	if claims.Subject != ticket.HashSubject("login:"+l.provider.Issuer(), "4711") || claims.MaxSessions != 2 || claims.Network != "" || claims.Customer != "" {
		t.Errorf("the ticket says %+v", claims)
	}
	// Operators find the person by the provider's name of them.
	if hashes, err := l.router.hashesOf("", "4711"); err != nil || len(hashes) != 1 || hashes[0] != claims.Subject {
		t.Errorf("%q, %v", hashes, err)
	}
	if hashes, _ := l.router.hashesOf("shop", "4711"); len(hashes) != 1 || hashes[0] == claims.Subject {
		t.Errorf("a customer finds people who logged in: %q", hashes)
	}
	// Neither the login nor its token is anything else.
	l.refused(wire.ProblemLogin, "POST", "/v1/sessions", `{"app":"golf"}`, "Authorization", bearer)
	l.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", playChess, "Authorization", "Bearer "+cookie)
	l.refused(wire.ProblemTicket, "POST", "/v1/sessions/"+claims.Session+"/ticket", nil, "Authorization", bearer)
	l.refused(wire.ProblemLogin, "POST", "/v1/sessions", playChess, "Cookie", "nearcast-login="+cookie) // the API reads no cookie

	// A launch token does in its place; a login does not for an app that needs one.
	into[wire.LaunchResponse](l.rig, 201, "POST", "/v1/sessions", playChess, "Authorization", l.customer().token(nil))
	l.sign(wire.AccessSigned, 1)
	l.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", playChess, "Authorization", bearer)
	if status, _, p := l.token("chess"); status != http.StatusUnauthorized || p.Type != wire.ProblemLaunchToken {
		t.Errorf("signed at one site: %d %+v", status, p)
	}
	if text := l.logs.String(); strings.Contains(text, "eyJ") || strings.Contains(text, "subject=4711") {
		t.Error("the log has a token or a person")
	}
}

// TestWhoMayPlay: groups and subjects count now, at each site.
func TestWhoMayPlay(t *testing.T) {
	l := newLoginRig(t, wire.AppLogin{})
	l.login(wire.AppLogin{Groups: []string{"staff", "guests"}}, 0) // named, so that the login has it
	l.user("guests")
	l.open(l.url+"/login?app=chess", "")
	for name, c := range map[string]struct {
		here, there wire.AppLogin
		in          bool
	}{
		"everybody":             {wire.AppLogin{}, wire.AppLogin{}, true},
		"their group":           {wire.AppLogin{Groups: []string{"guests"}}, wire.AppLogin{}, true},
		"another group":         {wire.AppLogin{Groups: []string{"staff"}}, wire.AppLogin{}, false},
		"they":                  {wire.AppLogin{Subjects: []string{"4711"}}, wire.AppLogin{}, true},
		"they, and a group":     {wire.AppLogin{Groups: []string{"staff"}, Subjects: []string{"4711"}}, wire.AppLogin{}, true},
		"another person":        {wire.AppLogin{Subjects: []string{"815"}}, wire.AppLogin{}, false},
		"not at the other site": {wire.AppLogin{Groups: []string{"guests"}}, wire.AppLogin{Groups: []string{"staff"}}, false},
	} {
		l.login(c.here, 0)
		l.login(c.there, 1)
		status, _, p := l.token("chess")
		if (status == http.StatusOK) != c.in || !c.in && (p.Type != wire.ProblemLoginGroups || !strings.Contains(p.Detail, "ada")) {
			t.Errorf("%s: %d %+v", name, status, p)
		}
	}
}

func TestLoginThatFails(t *testing.T) {
	for name, c := range map[string]struct {
		change func(l *loginRig, callback *url.URL)
		end    string // where the person is then
	}{
		"wrong state": {func(_ *loginRig, u *url.URL) { setQuery(u, "state", "x"+u.Query().Get("state")) }, "/play/chess#login=late"},
		"state with another end": {func(_ *loginRig, u *url.URL) {
			setQuery(u, "state", strings.Replace(u.Query().Get("state"), ".", "x.", 1))
		}, "/play/chess#login=late"},
		"another browser":         {func(l *loginRig, _ *url.URL) { l.fresh() }, "/play/chess#login=late"},
		"wrong code":              {func(_ *loginRig, u *url.URL) { setQuery(u, "code", "none") }, "/play/chess?a=b#login=failed"},
		"refused by the provider": {func(_ *loginRig, u *url.URL) { setQuery(u, "error", "access_denied") }, "/play/chess?a=b#login=denied"},
		"wrong nonce":             {func(l *loginRig, _ *url.URL) { l.keep(func(b map[string]string) { b["nonce"] = "another" }) }, "/play/chess?a=b#login=late"},
		"wrong verifier": {func(l *loginRig, _ *url.URL) {
			l.keep(func(b map[string]string) { b["verifier"] = strings.Repeat("v", 43) })
		}, "/play/chess?a=b#login=failed"},
		"an address elsewhere": {func(l *loginRig, _ *url.URL) {
			l.keep(func(b map[string]string) { b["next"] = "https://evil.example/play/chess" })
		}, "/play/chess"},
		"an address without name": {func(l *loginRig, _ *url.URL) {
			l.keep(func(b map[string]string) { b["next"] = "//evil.example/play/x" })
		}, "/play/chess"},
		"an old ID token": {func(l *loginRig, _ *url.URL) {
			l.provider.AccessTTL = -time.Hour
			l.provider.FastForward(-2 * time.Hour)
		}, "/play/chess?a=b#login=failed"},
		"nothing changed": {func(*loginRig, *url.URL) {}, "/play/chess?a=b"},
	} {
		t.Run(name, func(t *testing.T) {
			l := newLoginRig(t, wire.AppLogin{})
			l.user("staff")
			callback := l.open(l.url+"/login?app=chess&query=a%3Db", "/login/callback")
			c.change(l, callback)
			address := l.url + callback.RequestURI()
			to := l.open(address, "")
			if got := strings.TrimPrefix(to.String(), l.url); got != c.end {
				t.Errorf("the person comes to %s, want %s", got, c.end)
			}
			in := !strings.Contains(c.end, "#")
			if status, _, _ := l.token("chess"); (status == http.StatusOK) != in {
				t.Errorf("the token: %d", status)
			}
			// It is good once, also in the browser that has it.
			if to := l.open(address, ""); !strings.HasSuffix(to.String(), "#login=late") {
				t.Errorf("the callback came twice, and led to %s", to)
			}
			l.fresh()
			if to := l.open(address, ""); !strings.HasSuffix(to.String(), "#login=late") {
				t.Errorf("the callback came twice, and led to %s", to)
			}
			if status, _, _ := l.token("chess"); status != http.StatusUnauthorized {
				t.Errorf("the callback came twice: %d", status)
			}
		})
	}
}

// TestForgedLogin: who changes a cookie or comes from elsewhere gets nothing, and a login ends.
func TestForgedLogin(t *testing.T) {
	l := newLoginRig(t, wire.AppLogin{})
	l.user()
	l.open(l.url+"/login?app=chess", "")
	if status, _, _ := l.token("chess", "Origin", "https://evil.example"); status != http.StatusUnauthorized {
		t.Errorf("a page of another origin: %d", status)
	}
	if status, _ := l.post("/login/out", "Origin", "https://evil.example"); status != http.StatusUnauthorized {
		t.Errorf("a page of another origin logs people out: %d", status)
	}
	good := l.cookie("nearcast-login")
	other := testkit.Signer(t)
	person := ticket.Login{Provider: l.provider.Issuer(), Subject: "4711", Expires: time.Now().Add(time.Hour)}
	forged, err := other.SignLogin(person)
	testkit.Must(t, err)
	person.Provider = "https://login.example"
	foreign, err := l.signer.SignLogin(person)
	testkit.Must(t, err)
	over, err := l.signer.SignLogin(ticket.Login{Provider: l.provider.Issuer(), Subject: "4711", Expires: time.Now().Add(-time.Minute)})
	testkit.Must(t, err)
	parts := strings.Split(good, ".")
	changed := strings.Replace(payload(t, good), "4711", "0815", 1)
	swapped := parts[0] + "." + base64.RawURLEncoding.EncodeToString([]byte(changed)) + "." + parts[2]
	for name, value := range map[string]string{"another router's key": forged, "another provider's person": foreign, "its time is up": over, "another person": swapped, "no JWT": "x"} {
		l.fresh()
		if status, _, p := l.token("chess", "Cookie", "nearcast-login="+value); status != http.StatusUnauthorized || p.Type != wire.ProblemLogin {
			t.Errorf("%s: %d %+v", name, status, p)
		}
	}
	// Another router of these sites knows the login, without having seen it.
	second, err := New(Config{Site: "east", URL: l.url, View: l.view, Signer: other, Verifier: ticket.NewVerifier(other.Public(), l.signer.Public()),
		Login: l.router.cfg.Login})
	testkit.Must(t, err)
	defer second.Close()
	req := httptest.NewRequest(http.MethodPost, "/login/token?app=chess", nil)
	req.Header.Set("Origin", l.url)
	req.Header.Set("Cookie", "nearcast-login="+good)
	rw := httptest.NewRecorder()
	if second.ServeHTTP(rw, req); rw.Code != http.StatusOK {
		t.Errorf("another router: %d %s", rw.Code, rw.Body)
	}
	// A token of which the time is up says so.
	old, _, err := l.signer.SignLoginToken("chess", strings.Repeat("a", 32), ticket.Login{Expires: time.Now().Add(-time.Minute)})
	testkit.Must(t, err)
	if p := l.refused(wire.ProblemLogin, "POST", "/v1/sessions", playChess, "Authorization", "Bearer "+old); !strings.Contains(p.Detail, "expired") {
		t.Errorf("%+v", p)
	}
	// Logging out.
	l.user()
	l.open(l.url+"/login?app=chess", "")
	if status, _, _ := l.token("chess"); status != http.StatusOK {
		t.Fatalf("logged in: %d", status)
	}
	if status, _ := l.post("/login/out"); status != http.StatusNoContent {
		t.Errorf("logging out: %d", status)
	}
	if status, _, _ := l.token("chess"); status != http.StatusUnauthorized {
		t.Errorf("after it: %d", status)
	}
}

func TestLoginElsewhere(t *testing.T) {
	l := newLoginRig(t, wire.AppLogin{})
	for query, kind := range map[string]string{
		"app=none": wire.ProblemUnknownApp, "app=": wire.ProblemUnknownApp, "app=https%3A%2F%2Fevil.example": wire.ProblemUnknownApp,
		"app=chess&query=a%0d%0aSet-Cookie:x": wire.ProblemInvalid, "app=chess&query=a%23token%3Dx": wire.ProblemInvalid, "app=chess&query=a%20b": wire.ProblemInvalid,
	} {
		l.refused(kind, "GET", "/login?"+query, nil)
	}
	for query, end := range map[string]string{
		`x=C:\y`: "/play/chess?x=C:%5Cy", "//evil.example/?a=b": "/play/chess?//evil.example/?a=b", "..%2f..%2f": "/play/chess?..%2f..%2f",
		strings.Repeat("&", 2000): "/play/chess?" + strings.Repeat("&", 2000),
		strings.Repeat("a", 4000): "/play/chess", // the page remembers it
	} {
		l.user()
		if to := strings.TrimPrefix(l.open(l.url+"/login?app=chess&query="+url.QueryEscape(query), "").String(), l.url); to != end {
			t.Errorf("query %.40q leads to %.60q", query, to)
		}
		if status, _, _ := l.token("chess"); status != http.StatusOK {
			t.Errorf("query %.40q: %d", query, status)
		}
		l.fresh()
	}
	// The provider has never answered: the page says so.
	l = newLoginRig(t, wire.AppLogin{})
	testkit.Must(t, l.provider.Shutdown())
	if to := l.open(l.url+"/login?app=chess&query=a%3Db", ""); !strings.HasSuffix(to.String(), "/play/chess?a=b#login=failed") {
		t.Errorf("without the provider: %s", to)
	}

	// A site without a provider, where a launch token does.
	g := newRig(t)
	g.sign(wire.AccessLogin, 0, 1)
	p := g.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", playChess)
	if !strings.Contains(p.Detail, "--oidc-issuer") || !strings.Contains(g.logs.String(), "--oidc-issuer") {
		t.Errorf("%q does not say what to do", p.Detail)
	}
	g.refused(wire.ProblemLaunchToken, "GET", "/login?app=chess", nil)
	g.refused(wire.ProblemLaunchToken, "POST", "/login/token?app=chess", nil)
	into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess, "Authorization", g.customer().token(nil))

	for name, c := range map[string]Config{
		"plain HTTP":     {URL: "http://play.example", Login: LoginConfig{Issuer: "https://login.example", ClientID: "x", Claim: "groups"}},
		"too long":       {URL: "https://play.example", Login: LoginConfig{Issuer: "https://login.example", ClientID: "x", Claim: "groups", Lasts: 48 * time.Hour}},
		"no client":      {URL: "https://play.example", Login: LoginConfig{Issuer: "https://login.example", Claim: "groups"}},
		"fewer than one": {URL: "https://play.example", Login: LoginConfig{Issuer: "https://login.example", ClientID: "x", Claim: "groups", Sessions: -1}},
	} {
		c.Site, c.View, c.Signer, c.Verifier = "east", g.view, g.signer, ticket.NewVerifier(g.signer.Public())
		if r, err := New(c); err == nil {
			r.Close()
			t.Errorf("%s: the router starts", name)
		}
	}
}

// TestLoginsAreFew: browsers make up the cookie of an attempt, and each has the router ask the provider.
func TestLoginsAreFew(t *testing.T) {
	l := newLoginRig(t, wire.AppLogin{}, func(c *Config) { c.Limits.Launches = Rate{PerSecond: 1e-6, Burst: 2} })
	for i := range 4 {
		l.user()
		callback := l.open(l.url+"/login?app=chess", "/login/callback")
		res, err := l.client.Get(callback.String())
		testkit.Must(t, err)
		res.Body.Close()
		if few := res.StatusCode == http.StatusTooManyRequests; few != (i >= 2) {
			t.Errorf("callback %d: %s", i+1, res.Status)
		}
	}
}

// TestLoginCookie: over https nobody else's page or name can set it, read it, or have it sent.
func TestLoginCookie(t *testing.T) {
	g := newRig(t, func(c *Config) {
		c.URL = "https://East.example:443/" // the origin of which is https://east.example
		c.Login = LoginConfig{Issuer: "https://login.example", ClientID: "x", Claim: "groups"}
	})
	req := httptest.NewRequest(http.MethodPost, "/login/out", nil)
	req.Header.Set("Origin", "https://east.example")
	rw := httptest.NewRecorder()
	g.router.ServeHTTP(rw, req)
	cookies := rw.Result().Cookies()
	if len(cookies) != 1 {
		t.Fatalf("%d %v", rw.Code, cookies)
	}
	c := cookies[0]
	if c.Name != "__Host-nearcast-login" || !c.Secure || !c.HttpOnly || c.SameSite != http.SameSiteStrictMode || c.Path != "/" || c.Domain != "" {
		t.Errorf("%+v", c)
	}
}
