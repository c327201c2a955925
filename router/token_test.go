package router

import (
	"crypto/ed25519"
	"encoding/json"
	"reflect"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// customer signs launch tokens with a key that the rig knows.
type customer struct {
	t   *testing.T
	key ed25519.PrivateKey
	id  string
}

func (g *rig) customer(apps ...string) *customer {
	g.t.Helper()
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		g.t.Fatal(err)
	}
	id, text, err := ticket.DescribeLaunchKey(public)
	if err != nil {
		g.t.Fatal(err)
	}
	key, err := ticket.ParseLaunchKey(id, "shop", text, apps)
	if err != nil {
		g.t.Fatal(err)
	}
	g.view.set(func(s *Snapshot) { // the map does not change once it was handed out
		keys := ticket.LaunchKeys{id: key}
		for k, v := range s.LaunchKeys {
			keys[k] = v
		}
		s.LaunchKeys = keys
	})
	return &customer{g.t, private, id}
}

// token is the header for a launch of chess, or of what change says.
func (c *customer) token(change func(*ticket.Launch)) string {
	c.t.Helper()
	l := ticket.Launch{Apps: []string{"chess"}, Subject: "ada"}
	if change != nil {
		change(&l)
	}
	token, err := l.Sign(c.key)
	if err != nil {
		c.t.Fatal(err)
	}
	return "Bearer " + token
}

// sign makes chess a signed app at these sites.
func (g *rig) sign(access wire.Access, sites ...int) {
	g.view.set(func(s *Snapshot) {
		for _, i := range sites {
			apps := map[string]wire.App{}
			for id, app := range s.Sites[i].Apps {
				if id == "chess" {
					app.Access = access
				}
				apps[id] = app
			}
			s.Sites[i].Apps = apps
		}
	})
}

func (g *rig) claims(out wire.LaunchResponse) ticket.Claims {
	g.t.Helper()
	claims, err := ticket.NewVerifier(g.signer.Public()).Verify(out.Ticket)
	if err != nil {
		g.t.Fatal(err)
	}
	return claims
}

const playChess = `{"app":"chess"}`

func TestSignedApp(t *testing.T) {
	for name, arrange := range map[string]func(*rig){
		"signed at all sites":       func(g *rig) { g.sign(wire.AccessSigned, 0, 1) },
		"signed at one site":        func(g *rig) { g.sign(wire.AccessSigned, 1) },
		"a site does not say":       func(g *rig) { g.sign("", 1) },
		"a site says a wrong value": func(g *rig) { g.sign("everybody", 0) },
	} {
		t.Run(name, func(t *testing.T) {
			g := newRig(t)
			into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess)
			arrange(g)
			p := g.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", playChess)
			if !strings.Contains(p.Detail, "needs a launch token") {
				t.Errorf("%q does not say what is missing", p.Detail)
			}
			g.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", playChess, "Authorization", "Basic YTpi")
			g.refused(wire.ProblemLaunchToken, "GET", "/v1/apps/chess", nil)
			into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", `{"app":"golf"}`) // the others stay public
			if text := g.logs.String(); strings.Contains(text, "eyJ") {
				t.Error("the log has a token")
			}

			token := g.customer().token(nil)
			out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess, "Authorization", token)
			if out.App != "chess" {
				t.Errorf("%+v", out)
			}
			view := into[wire.AppView](g, 200, "GET", "/v1/apps/chess", nil, "Authorization", token)
			if view.Title != "Chess" || len(view.Sites) != 2 {
				t.Errorf("%+v", view)
			}
			g.refused(wire.ProblemLaunchToken, "POST", "/v1/sessions", `{"app":"golf"}`, "Authorization", token)
		})
	}
}

func TestOnlyPublicAppsAreListed(t *testing.T) {
	g := newRig(t)
	list := func() (ids []string) {
		for _, a := range into[wire.AppsResponse](g, 200, "GET", "/v1/apps", nil).Apps {
			ids = append(ids, a.ID)
		}
		return ids
	}
	if got := list(); !reflect.DeepEqual(got, []string{"chess", "golf"}) {
		t.Fatalf("listed %q", got)
	}
	g.sign(wire.AccessSigned, 1)
	if got := list(); !reflect.DeepEqual(got, []string{"golf"}) {
		t.Errorf("listed %q; chess is signed at a site", got)
	}
	for _, s := range into[wire.SitesResponse](g, 200, "GET", "/v1/sites", nil).Sites {
		if _, ok := s.Apps["chess"]; ok {
			t.Errorf("%s names a signed app", s.Site)
		}
	}
	if a := into[wire.AppView](g, 200, "GET", "/v1/apps/golf", nil); a.ID != "golf" {
		t.Errorf("%+v", a)
	}
	g.refused(wire.ProblemUnknownApp, "GET", "/v1/apps/whist", nil)
}

func TestTokenIsChecked(t *testing.T) {
	g := newRig(t)
	shop, toys := g.customer(), g.customer("golf")
	stranger := &customer{t: t, key: ed25519.NewKeyFromSeed(make([]byte, 32))}
	hour := time.Now().Add(-time.Hour)
	for name, c := range map[string]struct {
		token, origin, want string
	}{
		"unknown key":      {stranger.token(nil), "", "unknown or was revoked"},
		"expired":          {shop.token(func(l *ticket.Launch) { l.Issued, l.Expires = hour, hour.Add(time.Minute) }), "", "has expired"},
		"another app":      {shop.token(func(l *ticket.Launch) { l.Apps = []string{"golf"} }), "", "for another app"},
		"key of other app": {toys.token(nil), "", "may not sign for this app"},
		"another origin":   {shop.token(func(l *ticket.Launch) { l.Origins = []string{"https://shop.example"} }), "https://evil.example", "another origin"},
		"no origin":        {shop.token(func(l *ticket.Launch) { l.Origins = []string{"https://shop.example"} }), "", "no header Origin"},
		"no token":         {"Bearer letmein", "", "not a JWT"},
	} {
		t.Run(name, func(t *testing.T) {
			header := []string{"Authorization", c.token}
			if c.origin != "" {
				header = append(header, "Origin", c.origin)
			}
			for _, access := range []wire.Access{wire.AccessSigned, wire.AccessPublic} {
				g.sign(access, 0, 1) // a token that is there has to hold for public apps too
				kind := wire.ProblemLaunchToken
				if name == "expired" {
					kind = wire.ProblemLaunchOver
				}
				p := g.refused(kind, "POST", "/v1/sessions", playChess, header...)
				if !strings.Contains(p.Detail, c.want) {
					t.Errorf("%q does not say %q", p.Detail, c.want)
				}
			}
		})
	}
	g.sign(wire.AccessSigned, 0, 1)
	token := shop.token(func(l *ticket.Launch) { l.Origins = []string{"https://shop.example"} })
	into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess, "Authorization", token, "Origin", "https://shop.example")
	// A browser sends no Origin with this one.
	into[wire.AppView](g, 200, "GET", "/v1/apps/chess", nil, "Authorization", token)
	if strings.Contains(g.logs.String(), "eyJ") {
		t.Error("the log has a token")
	}
}

func TestTokenInTicket(t *testing.T) {
	g := newRig(t)
	g.declare(wire.Param{Name: "model"})
	shop := g.customer()
	const ada = "ada@lovelace.example" // no hash or id has this by chance
	token := shop.token(func(l *ticket.Launch) {
		l.Subject = ada
		l.MaxSessions, l.MaxDuration = 2, 5*time.Minute
		l.Params, l.Meta = map[string]string{"model": "bridge"}, map[string]string{"order": "7"}
	})
	got := g.claims(into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess, "Authorization", token))
	if got.Subject != ticket.HashSubject(shop.id, ada) || got.MaxSessions != 2 || got.MaxDuration != 5*time.Minute ||
		got.Params["model"] != "bridge" || got.Meta["order"] != "7" {
		t.Errorf("the ticket says %+v", got)
	}
	if text, _ := json.Marshal(got); strings.Contains(string(text), ada) {
		t.Error("the ticket names the subject")
	}
	anonymous := g.claims(into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess))
	if anonymous.Subject != "" || anonymous.MaxSessions != 0 || anonymous.Params != nil {
		t.Errorf("an anonymous ticket says %+v", anonymous)
	}
	nobody := g.claims(into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", playChess,
		"Authorization", shop.token(func(l *ticket.Launch) { l.Subject = "" })))
	if nobody.Subject != "" {
		t.Errorf("a token without subject gives %q", nobody.Subject)
	}
}

func TestTokenNarrows(t *testing.T) {
	g := newRig(t)
	g.view.set(func(s *Snapshot) {
		s.Sites[0].Info.Residency, s.Sites[1].Info.Residency = []string{"eu", "de"}, []string{"us"}
	})
	shop := g.customer()
	type c struct {
		sites, residency []string
		preferences      wire.Preferences
		want             string // the ticket's sites; empty: no site
	}
	list := func(s ...string) []string { return s }
	for name, c := range map[string]c{
		"nothing":                          {want: "east west"},
		"sites":                            {sites: list("west"), want: "west"},
		"sites and preferences agree":      {sites: list("west", "east"), preferences: wire.Preferences{Allow: list("east")}, want: "east"},
		"sites against preferences":        {sites: list("west"), preferences: wire.Preferences{Allow: list("east")}},
		"sites that are denied":            {sites: list("west"), preferences: wire.Preferences{Deny: list("west")}},
		"a site that is gone":              {sites: list("zenith")},
		"residency":                        {residency: list("us"), want: "west"},
		"residency and sites":              {residency: list("us"), sites: list("east")},
		"residency with a preference":      {residency: list("eu"), preferences: wire.Preferences{Residency: list("de")}, want: "east"},
		"residency against a preference":   {residency: list("us"), preferences: wire.Preferences{Residency: list("de")}},
		"residency, sites, and preference": {residency: list("eu", "us"), sites: list("west"), preferences: wire.Preferences{Residency: list("us", "eu")}, want: "west"},
		"a residency that no site has":     {residency: list("ch"), preferences: wire.Preferences{Residency: list("de")}},
	} {
		t.Run(name, func(t *testing.T) {
			token := shop.token(func(l *ticket.Launch) { l.Sites, l.Residency = c.sites, c.residency })
			body := wire.LaunchRequest{App: "chess", Preferences: c.preferences}
			if c.want == "" {
				g.refused(wire.ProblemNoSite, "POST", "/v1/sessions", body, "Authorization", token)
				return
			}
			out := into[wire.LaunchResponse](g, 201, "POST", "/v1/sessions", body, "Authorization", token)
			if got := strings.Join(g.claims(out).Sites, " "); got != c.want {
				t.Errorf("the ticket is for %q, want %q", got, c.want)
			}
		})
	}
}

// A page of any origin may send a launch token.
func TestPreflightAllowsToken(t *testing.T) {
	g := newRig(t)
	for _, path := range []string{"/v1/sessions", "/v1/apps/chess"} {
		res, _ := g.call("OPTIONS", path, nil, "Origin", "https://shop.example",
			"Access-Control-Request-Method", "POST", "Access-Control-Request-Headers", "authorization,content-type")
		if h := res.Header; res.StatusCode != 204 || h.Get("Access-Control-Allow-Origin") != "*" ||
			!strings.Contains(h.Get("Access-Control-Allow-Headers"), "Authorization") {
			t.Errorf("%s: %s, %v", path, res.Status, h)
		}
	}
	g.sign(wire.AccessSigned, 0, 1)
	res, _ := g.call("POST", "/v1/sessions", playChess, "Origin", "https://shop.example")
	if res.StatusCode != 401 || res.Header.Get("Access-Control-Allow-Origin") != "*" || res.Header.Get("WWW-Authenticate") == "" {
		t.Errorf("a refusal that the page cannot read: %v", res.Header)
	}
}
