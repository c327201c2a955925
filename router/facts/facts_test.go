package facts

import (
	"encoding/json"
	"errors"
	"fmt"
	"maps"
	"math/rand/v2"
	"reflect"
	"runtime"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func app(id string, idle int) wire.App {
	return wire.App{ID: id, Title: "The " + id, Access: wire.AccessSigned, Capacity: wire.Capacity{Idle: idle, Max: 9}}
}

// sent is an answer as it arrives.
func sent(t testing.TB, f wire.SiteFacts) wire.SiteFacts {
	t.Helper()
	text, err := json.Marshal(f)
	testkit.Must(t, err)
	out, err := Read(f.Site, text)
	testkit.Must(t, err)
	return out
}

// TestFollow changes a site at random, and lets copies follow it that ask now and then.
func TestFollow(t *testing.T) {
	seed := rand.Uint64()
	random := rand.New(rand.NewPCG(seed, 1))
	teller := NewTeller("far")
	copies := make([]*Copy, 3)
	apps := map[string]wire.App{}
	deltas := 0
	for step := range 3000 {
		apps = maps.Clone(apps)
		for range random.IntN(3) {
			id := fmt.Sprint("app", random.IntN(20))
			if random.IntN(4) == 0 {
				delete(apps, id)
			} else {
				apps[id] = app(id, random.IntN(5))
			}
		}
		brains := []wire.Instance{{ID: "b", Site: "far", URL: "wss://b.example", Address: "10.0.0.1:1", Internal: "10.0.0.1:2", Key: "k", Healthy: random.IntN(9) > 0}}
		teller.Set(apps, brains, nil, wire.SiteInfo{Site: "far"})
		i := random.IntN(len(copies))
		if random.IntN(50) == 0 {
			copies[i] = nil // a router was restarted
		}
		have := ""
		if copies[i] != nil {
			have = copies[i].Version
		}
		answer := teller.Since(have)
		if answer.Since != "" {
			deltas++
			// What changed, and changed back, may be told again.
			if len(answer.Apps)+len(answer.GoneApps) == 0 && !maps.EqualFunc(apps, copies[i].Apps, func(a, b wire.App) bool { return reflect.DeepEqual(a, b) }) {
				t.Fatalf("seed %d, step %d: nothing changed, but the copy has %+v, and the site %+v", seed, step, copies[i].Apps, apps)
			}
		}
		next, err := copies[i].With(sent(t, answer))
		testkit.Must(t, err)
		if copies[i] = next; !reflect.DeepEqual(next.Apps, apps) || next.Version != teller.Version() {
			t.Fatalf("seed %d, step %d: the copy has %+v, the site %+v", seed, step, next.Apps, apps)
		}
		if b := next.Brains[0]; b.Address+b.Internal+b.Key != "" || b.Healthy != brains[0].Healthy || b.URL != brains[0].URL {
			t.Fatalf("a brain is told as %+v", b)
		}
		total := 0
		for _, a := range next.Apps {
			total += size(a)
		}
		if total != next.size {
			t.Fatalf("seed %d, step %d: the size is %d, counted as %d", seed, step, total, next.size)
		}
	}
	if deltas < 2500 {
		t.Errorf("only %d answers of 3000 were changes", deltas)
	}
}

// TestVersions checks that the routers of a site agree, that a version is forgotten some
// time, and that what nobody changed costs no new version.
func TestVersions(t *testing.T) {
	one, two := NewTeller("far"), NewTeller("far")
	if one.Version() != "" {
		t.Error("a version of nothing")
	}
	set := func(idle int, tellers ...*Teller) {
		for _, teller := range tellers {
			teller.Set(map[string]wire.App{"a": app("a", idle), "b": app("b", 0)}, nil, nil, wire.SiteInfo{Site: "far"})
		}
	}
	set(1, one)
	first := one.Version()
	set(2, one, two)
	if first == one.Version() || one.Version() != two.Version() {
		t.Error("routers that know the same have different versions, or a change has none")
	}
	set(1, one)
	if one.Version() != first {
		t.Error("as before, and another version")
	}
	if got := one.Since(first); got.Since != first || len(got.Apps) > 0 {
		t.Errorf("%+v", got)
	}
	set(3, one)
	for i := range versions {
		set(4+i, one)
	}
	if got := one.Since(first); got.Since != "" || len(got.Apps) != 2 {
		t.Errorf("after %d versions: %+v", versions, got)
	}
	if len(one.steps) != versions || len(one.order) != versions {
		t.Errorf("%d and %d versions are kept", len(one.steps), len(one.order))
	}
}

func TestRead(t *testing.T) {
	good := func(change func(*wire.SiteFacts)) string {
		f := wire.SiteFacts{Site: "far", Version: "v", Apps: map[string]wire.App{"a": app("a", 1)}}
		change(&f)
		text, err := json.Marshal(f)
		testkit.Must(t, err)
		return string(text)
	}
	many := func(f *wire.SiteFacts) {
		for i := range MaxApps + 1 {
			f.Apps[fmt.Sprint(i)] = wire.App{ID: fmt.Sprint(i)}
		}
	}
	for name, text := range map[string]string{
		"no JSON":                      "<html>",
		"of another site":              good(func(f *wire.SiteFacts) { f.Site = "near" }),
		"without a version":            good(func(f *wire.SiteFacts) { f.Version = "" }),
		"with a version without end":   good(func(f *wire.SiteFacts) { f.Version = strings.Repeat("v", 1000) }),
		"an app under another name":    good(func(f *wire.SiteFacts) { f.Apps["b"] = app("a", 1) }),
		"too many apps":                good(many),
		"too many brains":              good(func(f *wire.SiteFacts) { f.Brains = make([]wire.Instance, 1000) }),
		"too long":                     good(func(f *wire.SiteFacts) { f.Info.GPU = []string{strings.Repeat("g", MaxText)} }),
		"a record without end":         good(func(f *wire.SiteFacts) { f.Info.GPU = make([]string, 1000) }),
		"objects that take no place":   `{"site":"far","version":"v","brains":[` + strings.Repeat("{},", 100_000) + `{}]}`,
		"an app without an identifier": good(func(f *wire.SiteFacts) { f.Apps[""] = wire.App{} }),
	} {
		if f, err := Read("far", []byte(text)); err == nil {
			t.Errorf("%s: %+v", name, f)
		}
	}
	f, err := Read("far", []byte(good(func(f *wire.SiteFacts) {
		a := f.Apps["a"]
		a.Capacity = wire.Capacity{Idle: -5, Busy: 1 << 40, ColdStartMS: -1, SessionMS: 1 << 60}
		f.Apps["a"] = a
		f.Info.Site = "near"
		f.Brains = []wire.Instance{{ID: "b", Site: "near", URL: "wss://b.example", Key: "k", Internal: "i", Room: "none"},
			{URL: "file:///etc/passwd"}, {URL: "wss://"}, {URL: "https://b.example"}, {URL: "wss://user:word@b.example"}}
		f.Routers = []wire.Instance{{URL: "https://r.example"}, {URL: "wss://r.example"}}
	})))
	testkit.Must(t, err)
	if c := f.Apps["a"].Capacity; c.Idle != 0 || c.Busy != maxCount || c.ColdStartMS != 0 || c.SessionMS != maxMS {
		t.Errorf("%+v", c)
	}
	if len(f.Brains) != 1 || f.Brains[0] != (wire.Instance{ID: "b", Site: "far", URL: "wss://b.example"}) || len(f.Routers) != 1 || f.Info.Site != "far" {
		t.Errorf("%+v", f)
	}
}

// TestAmplified checks that a text does not become many times as much memory.
func TestAmplified(t *testing.T) {
	text := []byte(`{"site":"far","version":"v","brains":[` + strings.Repeat("{},", 300_000) + `{}]}`)
	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	if _, err := Read("far", text); err == nil {
		t.Error("it was taken")
	}
	runtime.ReadMemStats(&after)
	if took := after.TotalAlloc - before.TotalAlloc; took > 4<<20 {
		t.Errorf("%d bytes of text took %d MiB", len(text), took>>20)
	}
}

// TestTooLarge checks that a site cannot have without end by telling a little each time.
func TestTooLarge(t *testing.T) {
	var c *Copy
	long := strings.Repeat("d", 100<<10)
	var refused error
	for i := 0; i < 100 && refused == nil; i++ {
		f := wire.SiteFacts{Site: "far", Version: fmt.Sprint(i), Apps: map[string]wire.App{}}
		if c != nil {
			f.Since = c.Version
		}
		id := fmt.Sprint("app", i)
		f.Apps[id] = wire.App{ID: id, Description: long}
		next, err := c.With(sent(t, f))
		if refused = err; err == nil {
			c = next
		}
	}
	if refused == nil || c.size > maxSize || len(c.Apps) < 10 {
		t.Errorf("%v, with %d apps of %d bytes", refused, len(c.Apps), c.size)
	}
	if _, err := c.With(wire.SiteFacts{Site: "far", Version: "x", Since: "unknown"}); !errors.Is(err, ErrUnknownVersion) {
		t.Error(err)
	}
}

// TestTokens checks who may ask: a router of these sites, this site, for a minute.
func TestTokens(t *testing.T) {
	signer, stranger := testkit.Signer(t), testkit.Signer(t)
	verifier := ticket.NewVerifier(signer.Public())
	tokens := NewTokens(signer)
	mine := tokens.For("far")
	if mine == "" || mine != tokens.For("far") || mine == tokens.For("near") {
		t.Error("a token is made each time, or one for all sites")
	}
	far := NewChecker("far", verifier)
	if far.Remembers(mine) || !far.Check(mine) || !far.Remembers(mine) || !far.Check(mine) {
		t.Error("a good token does not count")
	}
	session, _, err := signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: "chess", Sites: []string{"far"}})
	testkit.Must(t, err)
	for name, bad := range map[string]string{
		"for another site": tokens.For("near"), "a ticket": session, "nothing": "", "a stranger's": NewTokens(stranger).For("far"), "cut": mine[:len(mine)-2],
	} {
		if far.Check(bad) || far.Remembers(bad) {
			t.Errorf("%s is taken", name)
		}
	}
	// A token does for no ticket.
	if _, err := verifier.Verify(mine); !errors.Is(err, ticket.ErrForged) {
		t.Error(err)
	}
	tokens.made["far"] = token{"old", time.Now().Add(ticket.TTL/2 - time.Second)}
	if tokens.For("far") == "old" {
		t.Error("a token is sent after half its time")
	}
	far.now = func() time.Time { return time.Now().Add(2 * ticket.TTL) }
	if far.Remembers(mine) {
		t.Error("an expired token counts because it was good once")
	}
}

// FuzzRead lets a site's router answer anything. Whatever is kept is of that site, and
// within its bounds.
func FuzzRead(f *testing.F) {
	full := wire.SiteFacts{Site: "far", Version: "2", Since: "1", Apps: map[string]wire.App{"a": app("a", 1)}, GoneApps: []string{"b"},
		Brains: []wire.Instance{{ID: "b", URL: "wss://b.example", Healthy: true, Room: wire.RoomBusy}}, Routers: []wire.Instance{{ID: "r", URL: "https://r.example"}},
		Info: wire.SiteInfo{Site: "far", GPU: []string{"g"}}, Distances: map[string]wire.Distance{"near": {RTTMS: 1, Measured: true}}}
	text, err := json.Marshal(full)
	testkit.Must(f, err)
	for _, seed := range []string{string(text), `{}`, `{"site":"far","version":"2"}`, `{"site":"near","version":"2"}`,
		`{"site":"far","version":"2","since":"1","apps":{"a":null},"gone_apps":["a","a"]}`,
		`{"site":"far","version":"2","apps":{"a":{"id":"a","capacity":{"idle":-1e9}}}}`, `{"site":"far","site":"near","version":"2"}`,
		`{"site":"far","version":"2","distances":{"x":{"rtt_ms":1e308,"measured":true}}}`} {
		f.Add([]byte(seed))
	}
	known, err := (*Copy)(nil).With(wire.SiteFacts{Site: "far", Version: "1", Apps: map[string]wire.App{"a": app("a", 3), "b": app("b", 3)}})
	testkit.Must(f, err)
	before := fmt.Sprintf("%+v", known)
	f.Fuzz(func(t *testing.T, text []byte) {
		got, err := Read("far", text)
		if err != nil {
			return
		}
		if got.Site != "far" || got.Info.Site != "far" || got.Version == "" {
			t.Fatalf("%+v", got)
		}
		for _, in := range append(got.Brains, got.Routers...) {
			if in.Site != "far" || in.URL == "" || in.Key+in.Internal+in.Address != "" {
				t.Fatalf("%+v", in)
			}
		}
		for to, d := range got.Distances {
			if !d.Measured || !(d.RTTMS > 0 && d.RTTMS <= wire.MaxRTTMS) {
				t.Fatalf("%s: %+v", to, d)
			}
		}
		for _, c := range []*Copy{nil, known} {
			next, err := c.With(got)
			if err != nil {
				continue
			}
			if len(next.Apps) > MaxApps || next.size > maxSize || next.size < 0 {
				t.Fatalf("%d apps, %d bytes", len(next.Apps), next.size)
			}
			for id, a := range next.Apps {
				if a.ID != id || a.Capacity.Idle < 0 || a.Capacity.Idle > maxCount || a.Capacity.ColdStartMS < 0 {
					t.Fatalf("%s: %+v", id, a)
				}
			}
		}
		if now := fmt.Sprintf("%+v", known); now != before {
			t.Fatalf("a copy changed: %s", now)
		}
	})
}
