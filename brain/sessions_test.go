package brain_test

import (
	"encoding/json"
	"net/http"
	"slices"
	"testing"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestSessionsAreListed has people of two customers and of none play and wait.
func TestSessionsAreListed(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 2}, brain.App{ID: "chess", Version: 1, Max: 0})
	s.nomad.placed = s.ready
	b, other := s.brain("b1"), s.brain("b2")
	as := func(customer, subject string) func(*ticket.Claims) {
		return func(c *ticket.Claims) { c.Customer, c.Subject = customer, ticket.HashSubject("k", subject) }
	}
	ada := s.playAs(b, "game", as("shop", "ada"))
	ada.expect(wire.MsgGranted)
	bob := s.playAs(b, "game", as("bank", "bob"))
	bob.expect(wire.MsgGranted)
	eve := s.playAs(other, "chess", as("shop", "eve"))
	eve.expect(wire.MsgQueued)

	list := func(at *replica, query string) (out wire.SessionList) {
		t.Helper()
		status, body := call(t, http.MethodGet, at.internal+wire.SessionsPath+query)
		if status != 200 {
			t.Fatalf("%s: %d %s", query, status, body)
		}
		testkit.Must(t, json.Unmarshal([]byte(body), &out))
		return out
	}
	ids := func(l wire.SessionList) (out []string) {
		for _, one := range l.Sessions {
			out = append(out, one.Session)
		}
		return out
	}
	both := []string{ada.session, bob.session}
	slices.Sort(both)
	s.until("both seats' nodes tell of them", func() bool {
		l := list(other, "?state=claimed&state=streaming")
		return slices.Equal(ids(l), both) && !l.More
	})
	for query, want := range map[string][]string{
		"?customer=shop":                             {ada.session},
		"?app=game&customer=bank":                    {bob.session},
		"?subject=" + ticket.HashSubject("k", "ada"): {ada.session},
		"?app=nothing":                               nil,
		"?after=" + both[0]:                          both[1:],
		"?after=" + both[1]:                          nil,
	} {
		if got := ids(list(b, query)); !slices.Equal(got, want) {
			t.Errorf("%s: %v, want %v", query, got, want)
		}
	}
	if l := list(b, "?limit=1"); len(l.Sessions) != 1 || !l.More || l.Sessions[0].Session != both[0] {
		t.Errorf("one of two: %+v", l)
	}
	// Who waits is known to their own brain.
	l := list(other, "?state="+wire.StateWaiting)
	if len(l.Sessions) != 1 || l.Sessions[0].Session != eve.session || l.Sessions[0].Customer != "shop" || l.Sessions[0].Site != "dc1" || l.Sessions[0].Seat != "" {
		t.Errorf("who waits: %+v", l)
	}
	one := list(b, "?customer=shop").Sessions[0]
	if one.Seat == "" || one.Node != consulNode || one.App != "game" || one.Since.IsZero() || one.Subject != ticket.HashSubject("k", "ada") {
		t.Errorf("%+v", one)
	}
	for _, query := range []string{"?limit=0", "?limit=501", "?limit=x", "?after=x"} {
		if status, body := call(t, http.MethodGet, b.internal+wire.SessionsPath+query); status != 422 {
			t.Errorf("%s: %d %s", query, status, body)
		}
	}
}
