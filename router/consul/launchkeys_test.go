package consul

import (
	"context"
	"crypto/ed25519"
	"net/http"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// revokedWithin is what is promised of a revoked key, at every router.
const revokedWithin = time.Second

// TestLaunchKeys rotates the key of a customer at two sites, each with a real Consul
// and a real router, and revokes the old one.
func TestLaunchKeys(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	t.Run("run", func(t *testing.T) { // so that all has ended when leaks are looked for
		ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
		t.Cleanup(cancel)
		logger := testkit.Logger(t)
		sites := testSites(ctx, t, logger, "near", "far")
		// The operator stands at one site, and writes to all through its agent.
		operator, err := fleet.Open(fleet.Config{Address: sites[0].consul.Address, Log: logger})
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(operator.Close)
		for _, s := range sites {
			err := operator.At(s.name).PublishApp(ctx, wire.App{ID: "chess", Version: 1, Access: wire.AccessSigned, Capacity: wire.Capacity{Idle: 1, Max: 2}})
			if err != nil {
				t.Fatal(err)
			}
		}
		launch := func(s *testSite, token string) (status int, p wire.Problem) {
			req, err := http.NewRequestWithContext(ctx, "POST", "http://"+s.address+"/v1/sessions", strings.NewReader(`{"app":"chess"}`))
			if err != nil {
				t.Fatal(err)
			}
			if token != "" {
				req.Header.Set("Authorization", "Bearer "+token)
			}
			return s.do(req, &p), p
		}
		// register makes a key at all sites, and a token with it.
		register := func(name string) (id, token string) {
			public, private, err := ed25519.GenerateKey(nil)
			if err != nil {
				t.Fatal(err)
			}
			id, text, err := ticket.DescribeLaunchKey(public)
			if err != nil {
				t.Fatal(err)
			}
			for _, s := range sites {
				key := wire.LaunchKey{ID: id, Name: name, PublicKey: text, Apps: []string{"chess"}, Created: time.Now().UTC()}
				if err := operator.At(s.name).LaunchKeys().Put(ctx, key); err != nil {
					t.Fatal(err)
				}
			}
			if token, err = (ticket.Launch{Apps: []string{"chess"}, Subject: "ada"}).Sign(private); err != nil {
				t.Fatal(err)
			}
			return id, token
		}

		for _, s := range sites {
			testkit.UntilSeen(t, s.name+" asks for a token", func() (any, bool) {
				status, p := launch(s, "")
				return p, status == 401 && p.Type == wire.ProblemLaunchToken
			})
		}
		oldID, oldToken := register("shop")
		_, newToken := register("shop, 2027")
		for _, s := range sites {
			for name, token := range map[string]string{"old": oldToken, "new": newToken} {
				testkit.UntilSeen(t, s.name+" takes the "+name+" key", func() (any, bool) {
					status, p := launch(s, token)
					return p, status == 201
				})
			}
		}
		begin := time.Now()
		for _, s := range sites {
			if err := operator.At(s.name).LaunchKeys().Delete(ctx, oldID); err != nil {
				t.Fatal(err)
			}
		}
		for _, s := range sites {
			testkit.UntilSeen(t, s.name+" refuses the old key", func() (any, bool) {
				status, p := launch(s, oldToken)
				return p, status == 401 && strings.Contains(p.Detail, "revoked")
			})
			took := time.Since(begin)
			t.Logf("%s refuses it %s after it was revoked", s.name, took)
			if took > revokedWithin {
				t.Errorf("%s takes a revoked key for %s", s.name, took)
			}
			if status, p := launch(s, newToken); status != 201 {
				t.Errorf("%s refuses the new key: %+v", s.name, p)
			}
		}
	})
}
