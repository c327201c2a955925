package brain

import (
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestClosedApp: an anonymous ticket, which its router signed while the app was open to everybody, brings
// nobody to an app that is not any more, neither at first nor when it is renewed.
func TestClosedApp(t *testing.T) {
	now := time.Unix(1_800_000_000, 0)
	for name, c := range map[string]struct {
		access wire.Access
		claims ticket.Claims
		in     bool
	}{
		"public, anonymous":        {wire.AccessPublic, ticket.Claims{Network: "ab12"}, true},
		"login, anonymous":         {wire.AccessLogin, ticket.Claims{Network: "ab12"}, false},
		"signed, anonymous":        {wire.AccessSigned, ticket.Claims{Network: "ab12"}, false},
		"login, logged in":         {wire.AccessLogin, ticket.Claims{Subject: ticket.HashSubject("login:x", "ada")}, true},
		"login, with launch token": {wire.AccessLogin, ticket.Claims{Customer: "shop"}, true},
		"signed, with it":          {wire.AccessSigned, ticket.Claims{}, true},
	} {
		st := newState("dc1", slog.New(slog.DiscardHandler), newMetrics(nil), func() time.Time { return now })
		st.jobsChanged(JobsChange{All: true, Apps: map[string]App{game: {ID: game, Version: 1, Max: 1, Access: c.access}}, Children: map[string]Child{}})
		c.claims.Session, c.claims.App = ticket.NewSession(), game
		for when, p := range map[string]*wire.Problem{"at first": st.admissible(c.claims), "renewed": st.closed(c.claims)} {
			if (p == nil) != c.in || p != nil && (p.Type != wire.ProblemTicket || !strings.Contains(p.Title, "not open to everybody")) {
				t.Errorf("%s, %s: %+v", name, when, p)
			}
		}
	}
}
