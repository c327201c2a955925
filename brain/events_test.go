package brain_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/brain/consul"
	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// hooks is a customer's server.
type hooks struct {
	mu   sync.Mutex
	got  []wire.Event
	down bool
}

func (h *hooks) ids() (ids []string) {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, e := range h.got {
		if !slices.Contains(ids, e.ID) {
			ids = append(ids, e.ID)
		}
	}
	return ids
}

func (h *hooks) set(down bool) {
	h.mu.Lock()
	defer h.mu.Unlock()
	h.down = down
}

// TestEventsOverALeader has people play and wait at two brains. The customer's server is away while
// their sessions go on, and the leader ends before it is back.
func TestEventsOverALeader(t *testing.T) {
	s := newSite(t, brain.App{ID: "game", Version: 1, Warm: 1, Max: 1})
	s.nomad.placed = s.ready
	h := &hooks{}
	secret := events.NewSecret()
	key, err := webhooks.NewWebhook(secret)
	testkit.Must(t, err)
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		var e wire.Event
		h.mu.Lock()
		defer h.mu.Unlock()
		if err := key.Verify(body, r.Header); err != nil || json.Unmarshal(body, &e) != nil {
			t.Errorf("%v: %s", err, body)
		}
		if h.down {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		h.got = append(h.got, e)
	}))
	defer server.Close()
	testkit.Must(t, s.fleet.Webhooks().Put(s.ctx, wire.Webhook{ID: "0123456789abcdef", URL: server.URL, Customer: "shop", Secrets: []wire.WebhookSecret{{Secret: secret}}, Created: time.Now()}))
	folder := t.TempDir()
	start := func(name string) *replica {
		return s.brainWith(name, func(cfg *brain.Config) {
			store, err := events.OpenStore(folder)
			testkit.Must(t, err)
			cfg.Events = events.New(events.Config{Site: cfg.Site, Brain: name, Store: store, Registry: cfg.Fleet.(consul.Fleet), Private: true, Log: cfg.Log, Metrics: cfg.Metrics})
		})
	}
	leader := start("b1")
	s.until("b1 leads", func() bool { return leader.value("nearcast_brain_leader") == 1 })
	other := start("b2")
	as := func(c *ticket.Claims) {
		c.Customer, c.Subject, c.Meta = "shop", ticket.HashSubject("k", "ada"), map[string]string{"order": "4711"}
	}
	ada := s.playAs(leader, "game", as)
	seat := ada.expect(wire.MsgGranted).Grant.Seat
	s.at(seat).set(wire.SeatStreaming)
	s.until("the server learns that Ada plays", func() bool {
		return slices.Equal(h.ids(), []string{ada.session + "-1-requested", ada.session + "-2-started"})
	})
	h.set(true)
	s.at(seat).set(wire.SeatDetached)
	eve := s.playAs(other, "game", as) // waits at the brain that does not lead
	eve.expect(wire.MsgQueued)
	s.until("three events wait", func() bool { return leader.value("nearcast_brain_webhook_pending") == 3 })
	leader.stop()
	h.set(false)
	want := map[string][]string{ada.session: {"1-requested", "2-started", "3-detached"}, eve.session: {"1-requested", "2-queued"}}
	s.until("the next leader tells what was left", func() bool {
		got := map[string][]string{}
		for _, id := range h.ids() {
			session, event := id[:len(ada.session)], id[len(ada.session)+1:]
			got[session] = append(got[session], event)
		}
		return slices.Equal(got[ada.session], want[ada.session]) && slices.Equal(got[eve.session], want[eve.session])
	})
	for _, e := range h.got {
		if d := e.Data; d.Meta["order"] != "4711" || d.Subject != ticket.HashSubject("k", "ada") || d.Site != "dc1" || (d.Seat == "") != (strings.HasPrefix(e.ID, eve.session)) {
			t.Errorf("%+v", e)
		}
	}
}
