package identity_test

import (
	"context"
	"crypto/tls"
	"errors"
	"io"
	"log"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
)

func serve(t *testing.T, config *tls.Config, handler http.Handler) string {
	t.Helper()
	server := httptest.NewUnstartedServer(handler)
	server.Listener = tls.NewListener(server.Listener, config)
	server.Config.ErrorLog = log.New(io.Discard, "", 0)
	server.Start()
	t.Cleanup(server.Close)
	return "https://" + server.Listener.Addr().String()
}

// ask is the status of the answer, 0 where no connection is made.
func ask(t *testing.T, url string, config *tls.Config) (int, error) {
	t.Helper()
	transport := &http.Transport{TLSClientConfig: config, DisableKeepAlives: true}
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	testkit.Must(t, err)
	res, err := (&http.Client{Transport: transport}).Do(req)
	if err != nil {
		return 0, err
	}
	res.Body.Close()
	return res.StatusCode, nil
}

func ok(http.ResponseWriter, *http.Request) {}

// A server takes the processes of the services that it names, and nobody else.
func TestServer(t *testing.T) {
	seat, brain, router, stranger := testkit.Identity(t), testkit.Identity(t), testkit.Identity(t), testkit.Identity(t)
	peers := testkit.Peers{brain.Key(): {Service: "brain"}, router.Key(): {Service: "router"}}
	url := serve(t, seat.Server(peers, "brain", "drain"), http.HandlerFunc(ok))
	for name, c := range map[string]struct {
		config *tls.Config
		taken  bool
	}{
		"a brain":               {brain.Client(seat.Key()), true},
		"a router":              {router.Client(seat.Key()), false},
		"a key without record":  {stranger.Client(seat.Key()), false},
		"nobody":                {&tls.Config{InsecureSkipVerify: true}, false},
		"a brain of TLS 1.2":    {&tls.Config{InsecureSkipVerify: true, MaxVersion: tls.VersionTLS12}, false},
		"the key of the server": {seat.Client(seat.Key()), false},
	} {
		if status, err := ask(t, url, c.config); (status == 200) != c.taken {
			t.Errorf("%s: status %d, error %v", name, status, err)
		}
	}
	if status, err := ask(t, "http"+url[len("https"):], nil); status == 200 {
		t.Errorf("a request without TLS: status %d, error %v", status, err)
	}
}

// A client speaks with the process whose key it means, and with nobody else.
func TestClient(t *testing.T) {
	seat, other, brain := testkit.Identity(t), testkit.Identity(t), testkit.Identity(t)
	url := serve(t, seat.Open(), http.HandlerFunc(ok))
	if status, err := ask(t, url, brain.Client(seat.Key())); status != 200 {
		t.Errorf("status %d, error %v", status, err)
	}
	for _, key := range []string{other.Key(), ""} {
		if _, err := ask(t, url, brain.Client(key)); !errors.Is(err, identity.ErrStranger) {
			t.Errorf("key %q: %v", key, err)
		}
	}
}

// A copy of a certificate is worth nothing without its private key.
func TestCertificateOfAnother(t *testing.T) {
	seat, brain, thief := testkit.Identity(t), testkit.Identity(t), testkit.Identity(t)
	url := serve(t, seat.Server(testkit.Peers{brain.Key(): {Service: "brain"}}, "brain"), http.HandlerFunc(ok))
	config := thief.Client(seat.Key())
	config.Certificates[0].Certificate = brain.Client("").Certificates[0].Certificate
	config.Certificates[0].Leaf = nil
	if status, err := ask(t, url, config); status == 200 {
		t.Errorf("status %d, error %v", status, err)
	}
}

// Behind an open listener a handler can be for some services only.
func TestOnly(t *testing.T) {
	me, brain, router, seat := testkit.Identity(t), testkit.Identity(t), testkit.Identity(t), testkit.Identity(t)
	peers := testkit.Peers{brain.Key(): {Service: "brain"}, router.Key(): {Service: "router"}, seat.Key(): {Service: "seat"}}
	mux := http.NewServeMux()
	mux.HandleFunc("/metrics", ok)
	mux.Handle("/queues", identity.Only(http.HandlerFunc(ok), peers, "brain", "router"))
	url := serve(t, me.Open(), mux)
	nobody := &tls.Config{InsecureSkipVerify: true}
	for _, c := range []struct {
		path   string
		config *tls.Config
		want   int
	}{
		{"/metrics", nobody, 200},
		{"/queues", nobody, 403},
		{"/queues", brain.Client(me.Key()), 200},
		{"/queues", router.Client(me.Key()), 200},
		{"/queues", seat.Client(me.Key()), 403},
		{"/queues", testkit.Identity(t).Client(me.Key()), 403},
	} {
		if status, err := ask(t, url+c.path, c.config); status != c.want {
			t.Errorf("%s: status %d, error %v, want %d", c.path, status, err, c.want)
		}
	}
}
