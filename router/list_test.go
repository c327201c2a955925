package router

import (
	"bytes"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/nearcast/nearcast/client"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// brainOf is a brain's internal side of all sessions of a site.
type brainOf struct {
	mu       sync.Mutex
	sessions []wire.SessionView
	sick     bool
	asked    []url.Values
	ended    []string
}

func (b *brainOf) ServeHTTP(w http.ResponseWriter, req *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	q := req.URL.Query()
	if b.sick {
		w.WriteHeader(http.StatusInternalServerError)
		return
	}
	if id, one := strings.CutPrefix(req.URL.Path, wire.SessionsPath+"/"); one {
		at := slices.IndexFunc(b.sessions, func(v wire.SessionView) bool { return v.Session == id })
		switch {
		case at < 0:
			w.WriteHeader(http.StatusNotFound)
		case req.Method == http.MethodDelete:
			b.ended = append(b.ended, id)
			w.WriteHeader(http.StatusNoContent)
		default:
			json.NewEncoder(w).Encode(b.sessions[at])
		}
		return
	}
	b.asked = append(b.asked, q)
	var limit int
	fmt.Sscan(q.Get("limit"), &limit)
	list := wire.SessionList{Sessions: []wire.SessionView{}}
	for _, v := range b.sessions {
		if v.Session > q.Get("after") && (q.Get("customer") == "" || q.Get("customer") == v.Customer) &&
			(q["subject"] == nil || slices.Contains(q["subject"], v.Subject)) {
			list.Sessions = append(list.Sessions, v)
		}
	}
	if len(list.Sessions) > limit {
		list.Sessions, list.More = list.Sessions[:limit], true
	}
	json.NewEncoder(w).Encode(list)
}

// sessionsAt are n sessions of a customer, in order.
func sessionsAt(site, customer string, n int) (out []wire.SessionView) {
	for range n {
		out = append(out, wire.SessionView{Session: ticket.NewSessionAt(site), App: "chess", Site: site, State: "streaming", Seat: "2f1e", Customer: customer, Node: "node-7", Stills: wire.StillsAdmin,
			Measured: &wire.Measured{At: time.Now(), RTTMS: 21, FPS: 30, Encoder: "x264enc", Preset: "superfast", Width: 1280, Height: 720, Page: &wire.PageMeasured{FPS: 29}},
			Quality:  &wire.Quality{DurationS: 60, RTTMS: 22}})
	}
	slices.SortFunc(out, func(a, b wire.SessionView) int { return strings.Compare(a.Session, b.Session) })
	return out
}

// apiKey registers an API key.
func (g *rig) apiKey(customer string, scopes ...string) (header []string) {
	g.t.Helper()
	key, id, sum := ticket.NewAPIKey()
	parsed, err := ticket.ParseAPIKey(id, customer, sum, scopes)
	if err != nil {
		g.t.Fatal(err)
	}
	g.view.set(func(s *Snapshot) {
		keys := ticket.APIKeys{id: parsed}
		for id, k := range s.APIKeys {
			keys[id] = k
		}
		s.APIKeys = keys
	})
	return []string{"Authorization", "Bearer " + key}
}

// bare is the token of a header.
func bare(header []string) string { return strings.TrimPrefix(header[1], "Bearer ") }

// client is the generated client; what it exchanges is checked against the document, too.
func (g *rig) client(key string) *client.ClientWithResponses {
	g.t.Helper()
	c, err := client.New(g.server.URL, key, client.WithHTTPClient(documentedClient{g}))
	if err != nil {
		g.t.Fatal(err)
	}
	return c
}

type documentedClient struct{ g *rig }

func (c documentedClient) Do(req *http.Request) (*http.Response, error) {
	var sent []byte
	if req.Body != nil {
		sent, _ = io.ReadAll(req.Body)
		req.Body = io.NopCloser(bytes.NewReader(sent))
	}
	res, err := c.g.server.Client().Do(req)
	if err != nil {
		return nil, err
	}
	got, err := io.ReadAll(res.Body)
	res.Body.Close()
	if err != nil {
		return nil, err
	}
	checkDocumented(c.g.t, req, sent, res, got)
	res.Body = io.NopCloser(bytes.NewReader(got))
	return res, nil
}

func asOperator() []string { return []string{"Authorization", "Bearer " + operatorToken} }

// TestSessionsOverSites lists two sites, page by page: the own one by its brains, the other by its
// router, which is a whole one.
func TestSessionsOverSites(t *testing.T) {
	east, west := newRig(t, withOperator), newRig(t, withOperator, func(c *Config) { c.Site = "west" })
	here, both, there := &brainOf{}, &brainOf{}, &brainOf{}
	here.sessions = sessionsAt("east", "shop", 5)
	both.sessions = slices.Clone(here.sessions) // each brain knows the seats of the site
	waits := sessionsAt("east", "bank", 1)
	waits[0].State, waits[0].Seat = wire.StateWaiting, ""
	both.sessions = append(both.sessions, waits...)
	slices.SortFunc(both.sessions, func(a, b wire.SessionView) int { return strings.Compare(a.Session, b.Session) })
	there.sessions = sessionsAt("west", "shop", 4)
	east.brainsAt(0, serveBrain(t, here), serveBrain(t, both))
	west.brainsAt(1, serveBrain(t, there))
	east.view.set(func(s *Snapshot) {
		s.Sites[1].Routers = []wire.Instance{{ID: "w", URL: west.server.URL, Healthy: true}}
	})
	east.router.keys.buckets.limit, west.router.keys.buckets.limit = Rate{1000, 1000}, Rate{1000, 1000}
	key := east.apiKey("shop", ticket.ScopeReadSessions)
	west.view.set(func(s *Snapshot) { s.APIKeys = east.view.Snapshot().APIKeys })

	type filter = client.ListSessionsParams
	walk := func(key string, by filter) (all []client.SessionView) {
		t.Helper()
		for v, err := range east.client(key).Sessions(t.Context(), by) {
			if err != nil {
				t.Fatalf("after %d sessions: %v", len(all), err)
			}
			all = append(all, v)
		}
		return all
	}
	ids := func(list []client.SessionView) (out []string) {
		for _, v := range list {
			out = append(out, v.Session)
		}
		return out
	}
	sent := func(lists ...[]wire.SessionView) (out []string) {
		for _, v := range slices.Concat(lists...) {
			out = append(out, v.Session)
		}
		return out
	}
	for _, limit := range []int{1, 2, 5, 6, 9, 100} {
		if got, want := ids(walk(operatorToken, filter{Limit: &limit})), sent(both.sessions, there.sessions); !slices.Equal(got, want) {
			t.Errorf("limit %d, an operator: %v, want %v", limit, got, want)
		}
		if got, want := ids(walk(bare(key), filter{Limit: &limit})), sent(here.sessions, there.sessions); !slices.Equal(got, want) {
			t.Errorf("limit %d, a customer: %v, want %v", limit, got, want)
		}
	}
	if all := walk(bare(key), filter{Limit: new(3), Site: &[]string{"west"}}); len(all) != 4 || all[0].Site != "west" || all[0].Node != nil || all[0].Stills != nil || all[0].Measured == nil || all[0].Measured.Encoder != nil {
		t.Errorf("one site: %+v", all)
	}
	if all := walk(operatorToken, filter{Customer: new("bank")}); len(all) != 1 || *all[0].Node != "node-7" || *all[0].Measured.Encoder != "x264enc" {
		t.Errorf("of a customer, for an operator: %+v", all)
	}

	// What is wrong is said.
	for query, kind := range map[string]string{
		"?limit=0": wire.ProblemInvalid, "?limit=501": wire.ProblemInvalid, "?cursor=x": wire.ProblemInvalid, "?cursor=eHg": wire.ProblemInvalid,
		"?state=idle": wire.ProblemInvalid, "?stat=x": wire.ProblemInvalid, "?app=": wire.ProblemInvalid, "?subject=": wire.ProblemInvalid, "?subject=a&subject=b": wire.ProblemInvalid,
		"?state=waiting&state=waiting&state=waiting&state=waiting&state=waiting": wire.ProblemInvalid, "?site=north": wire.ProblemUnknownSite, "?customer=bank": wire.ProblemForbidden,
	} {
		east.refused(kind, "GET", wire.SessionsPath+query, nil, key...)
	}
	east.refused(wire.ProblemAPIKey, "GET", wire.SessionsPath, nil)
	east.refused(wire.ProblemAPIKey, "GET", wire.SessionsPath, nil, key[0], key[1][:len(key[1])-1]+"x")
	east.refused(wire.ProblemForbidden, "GET", wire.SessionsPath, nil, east.apiKey("shop", ticket.ScopeEndSessions)...)

	// A brain or site that fails is named, and the rest is there.
	both.mu.Lock()
	both.sick = true
	both.mu.Unlock()
	incomplete := func(sessions int, missing string) {
		t.Helper()
		var last error
		n := 0
		for _, err := range east.client(bare(key)).Sessions(t.Context(), filter{}) {
			if last = err; err == nil {
				n++
			}
		}
		if n != sessions || !errors.Is(last, client.ErrMissing) || !strings.Contains(last.Error(), ": "+missing+" did") {
			t.Errorf("%d sessions, %v; want %d, missing %s", n, last, sessions, missing)
		}
	}
	incomplete(9, "east")
	west.server.Close()
	incomplete(5, "east, west")
}

// TestSubjectIsHashed asks for a person by the customer's own name, over all keys of the customer.
func TestSubjectIsHashed(t *testing.T) {
	g := newRig(t, withOperator)
	b := &brainOf{}
	g.brainsAt(0, serveBrain(t, b))
	key := g.apiKey("shop", ticket.ScopeReadSessions)
	g.view.set(func(s *Snapshot) {
		s.LaunchKeys = ticket.LaunchKeys{"k1": {ID: "k1", Name: "shop"}, "k2": {ID: "k2", Name: "shop"}, "k3": {ID: "k3", Name: "bank"}}
	})
	b.sessions = sessionsAt("east", "shop", 2)
	b.sessions[1].Subject = ticket.HashSubject("k2", "ada")
	l := into[wire.SessionList](g, 200, "GET", wire.SessionsPath+"?subject=ada&site=east", nil, key...)
	if len(l.Sessions) != 1 || l.Sessions[0].Session != b.sessions[1].Session {
		t.Errorf("%+v", l)
	}
	if asked := b.asked[len(b.asked)-1]; len(asked["subject"]) != 2 || asked.Get("customer") != "shop" {
		t.Errorf("the brain was asked for %v", asked)
	}
	g.view.set(func(s *Snapshot) {
		s.LaunchKeys = ticket.LaunchKeys{}
		for i := range wire.MaxSubjectHashes + 1 {
			s.LaunchKeys[fmt.Sprint(i)] = ticket.LaunchKey{ID: fmt.Sprint(i), Name: fmt.Sprint("shop", i%2)}
		}
	})
	g.refused(wire.ProblemInvalid, "GET", wire.SessionsPath+"?subject=ada", nil, asOperator()...)
	into[wire.SessionList](g, 200, "GET", wire.SessionsPath+"?subject=ada&customer=shop1", nil, asOperator()...)
}

// TestSessionByAPIKey reads and ends sessions of a customer, and none of another.
func TestSessionByAPIKey(t *testing.T) {
	g := newRig(t, withOperator)
	b := &brainOf{sessions: append(sessionsAt("east", "shop", 1), sessionsAt("east", "bank", 1)...)}
	b.sessions = append(b.sessions, sessionsAt("east", "", 1)...)
	g.brainsAt(0, serveBrain(t, b))
	read, all := g.apiKey("shop", ticket.ScopeReadSessions), g.apiKey("shop", ticket.ScopeReadSessions, ticket.ScopeEndSessions)
	mine, theirs, nobodys := b.sessions[0].Session, b.sessions[1].Session, b.sessions[2].Session
	get := func(key string) client.SessionView {
		t.Helper()
		answer, err := g.client(key).GetSessionWithResponse(t.Context(), mine)
		if err != nil || answer.JSON200 == nil {
			t.Fatalf("%v %v", err, client.Check(answer))
		}
		return *answer.JSON200
	}

	if v := get(bare(read)); *v.Customer != "shop" || v.Node != nil || v.Stills != nil ||
		v.Measured.RttMs != 21 || v.Measured.Page.Fps != 29 || v.Measured.Encoder != nil || v.Measured.Preset != nil || v.Quality.RttMs != 22 {
		t.Errorf("%+v, measured %+v", v, v.Measured)
	}
	if v := get(operatorToken); *v.Node != "node-7" || string(*v.Stills) != wire.StillsAdmin || *v.Measured.Encoder != "x264enc" || *v.Measured.Preset != "superfast" {
		t.Errorf("an operator: %+v", v)
	}
	if v := get(g.ticketFor(mine)); v.Customer != nil || v.Node != nil || v.Stills != nil || v.Measured != nil || v.Quality != nil {
		t.Errorf("the person: %+v", v)
	}
	is := func(kind string, answer client.Answer, err error) {
		t.Helper()
		var p client.Problem
		if err != nil || !errors.As(client.Check(answer), &p) || p.Type != kind || p.Status != answer.StatusCode() {
			t.Errorf("%v %v, want %s", err, client.Check(answer), kind)
		}
	}
	as := g.client(bare(all))
	for _, session := range []string{theirs, nobodys} {
		got, err := as.GetSessionWithResponse(t.Context(), session)
		is(wire.ProblemNotFound, got, err)
		ended, err := as.EndSessionWithResponse(t.Context(), session)
		is(wire.ProblemNotFound, ended, err)
	}
	ended, err := g.client(bare(read)).EndSessionWithResponse(t.Context(), mine)
	is(wire.ProblemForbidden, ended, err)
	if len(b.ended) > 0 {
		t.Fatalf("ended: %v", b.ended)
	}
	if ended, err = as.EndSessionWithResponse(t.Context(), mine); err != nil || client.Check(ended) != nil || ended.StatusCode() != 204 {
		t.Fatalf("%v %v", err, client.Check(ended))
	}
	if !slices.Equal(b.ended, []string{mine}) {
		t.Errorf("ended: %v", b.ended)
	}
}

// TestListsOfAKeyAreLimited lists more often than an API key may; operators may.
func TestListsOfAKeyAreLimited(t *testing.T) {
	g := newRig(t, withOperator)
	g.brainsAt(0, serveBrain(t, &brainOf{}))
	key, other := g.apiKey("shop", ticket.ScopeReadSessions), g.apiKey("shop", ticket.ScopeReadSessions)
	for range 2 * listRate.Burst {
		if res, _ := g.call("GET", wire.SessionsPath+"?site=east", nil, key...); res.StatusCode == 429 {
			into[wire.SessionList](g, 200, "GET", wire.SessionsPath+"?site=east", nil, other...)
			into[wire.SessionList](g, 200, "GET", wire.SessionsPath+"?site=east", nil, asOperator()...)
			return
		}
	}
	t.Error("an API key lists as often as it likes")
}

// TestSessionAtAThirdSite ends a session that went on at a site that neither its id nor the router
// names.
func TestSessionAtAThirdSite(t *testing.T) {
	east, west := newRig(t, withOperator), newRig(t, withOperator, func(c *Config) { c.Site = "west" })
	there := &brainOf{sessions: sessionsAt("north", "shop", 1)}
	east.brainsAt(0, serveBrain(t, &brainOf{}))
	west.brainsAt(1, serveBrain(t, there))
	east.view.set(func(s *Snapshot) {
		s.Sites[1].Routers = []wire.Instance{{ID: "w", URL: west.server.URL, Healthy: true}}
	})
	path := wire.SessionsPath + "/" + there.sessions[0].Session
	into[wire.SessionView](east, 200, "GET", path, nil, asOperator()...)
	if res, text := east.call("DELETE", path, nil, asOperator()...); res.StatusCode != 204 || len(there.ended) != 1 {
		t.Errorf("%s %s, ended %v", res.Status, text, there.ended)
	}
}
