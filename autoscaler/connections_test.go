package autoscaler_test

import (
	"crypto/tls"
	"encoding/json"
	"fmt"
	"net"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"testing"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/nomad-autoscaler/sdk"

	"github.com/nearcast/nearcast/autoscaler"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// counted is a brain that counts the connections that are opened to it.
type counted struct {
	identity *identity.Identity
	address  string
	opened   atomic.Int64
	asked    atomic.Int64
	refuses  atomic.Bool // it answers with an error
}

// The plugin asks brains four times a minute for months: it keeps its connections to them, also after
// answers that are errors, and several policies that ask at once open no more than they use.
func TestConnections(t *testing.T) {
	s := &site{keys: map[string]string{}, brain: testkit.Identity(t)}
	// As large as the answer of a site with many apps, which is sent in parts.
	demand := wire.Demand{Site: "s", Brain: "b", Known: true}
	for n := range 300 {
		demand.Apps = append(demand.Apps, wire.AppDemand{App: fmt.Sprint("app-", n), Pool: "stream-cpu", Busy: 1})
	}
	brains := []*counted{{}, {}, {}}
	for _, b := range brains {
		b.identity = testkit.Identity(t)
		server := httptest.NewUnstartedServer(identity.Only(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
			b.asked.Add(1)
			if b.refuses.Load() {
				http.Error(rw, strings.Repeat("no ", 1000), http.StatusServiceUnavailable)
				return
			}
			json.NewEncoder(rw).Encode(demand)
		}), s, wire.AutoscalerService))
		server.Listener = tls.NewListener(server.Listener, b.identity.Open())
		server.Config.ConnState = func(_ net.Conn, state http.ConnState) {
			if state == http.StateNew {
				b.opened.Add(1)
			}
		}
		server.Start()
		defer server.Close()
		b.address = server.Listener.Addr().String()
	}
	consul := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.URL.Path != "/v1/health/service/"+wire.BrainService {
			s.serveConsul(rw, r)
			return
		}
		type object = map[string]any
		var found []object
		for n, b := range brains {
			host, port, _ := net.SplitHostPort(b.address)
			number, _ := strconv.Atoi(port)
			found = append(found, object{"Node": object{"Node": "n", "Address": host}, "Checks": []object{{"Status": "passing"}},
				"Service": object{"Address": host, "Port": number, "Meta": object{"instance": fmt.Sprint("b", n), "internal": b.address, "key": b.identity.Key()}}})
		}
		json.NewEncoder(rw).Encode(found)
	}))
	defer consul.Close()
	apm := autoscaler.NewAPM(hclog.NewNullLogger())
	defer apm.Close()
	testkit.Must(t, apm.SetConfig(map[string]string{"consul": strings.TrimPrefix(consul.URL, "http://")}))
	query := func() {
		if got, err := apm.Query("busy/stream-cpu", sdk.TimeRange{}); err != nil || len(got) != 1 || got[0].Value != 300 {
			t.Errorf("the brains say %v, %v", got, err)
		}
	}
	// bounded fails where a brain saw more connections than so many since the last call.
	bounded := func(what string, most int64) {
		t.Helper()
		for n, b := range brains {
			if opened := b.opened.Swap(0); opened > most {
				t.Errorf("%s: brain %d answered %d times by %d new connections; want %d at most", what, n, b.asked.Load(), opened, most)
			}
			b.asked.Store(0)
		}
	}
	query() // once more than it is answered: the brains have to learn the key
	for range 30 {
		query()
	}
	bounded("one after the other", 1)
	brains[1].refuses.Store(true)
	for range 30 {
		query()
	}
	brains[1].refuses.Store(false)
	bounded("a brain refuses", 1)
	const policies = 6
	for range 10 {
		var all sync.WaitGroup
		for range policies {
			all.Go(query)
		}
		all.Wait()
	}
	// A dial goes on whose request got another connection: on a busy machine some of the first round's are still there when
	// the second round begins its own.
	bounded("several policies at once", 2*policies)
}
