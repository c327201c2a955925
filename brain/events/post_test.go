package events

import (
	"bytes"
	"context"
	"errors"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	webhooks "github.com/standard-webhooks/standard-webhooks/libraries/go"
	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// TestSign compares with the vector that Standard Webhooks publishes with its libraries, and has
// more than one secret.
func TestSign(t *testing.T) {
	const secret, want = "whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw", "v1,g0hM9SsE+OTPJTGt/tmIKtSyZlE3uFJELVlNIOLJ1OE="
	at, body := time.Unix(1614265330, 0), []byte(`{"test": 2432232314}`)
	hook := wire.Webhook{Secrets: []wire.WebhookSecret{{Secret: secret}}}
	if got, err := sign(hook, "msg_p5jXN8AQM9LWM0D4loKWxJek", at, body); err != nil || got != want {
		t.Errorf("%s, %v; want %s", got, err, want)
	}
	old, over := NewSecret(), NewSecret()
	hook.Secrets = append(hook.Secrets, wire.WebhookSecret{Secret: old, Until: at.Add(time.Hour)}, wire.WebhookSecret{Secret: over, Until: at.Add(-time.Second)})
	now := time.Now()
	hook.Secrets[1].Until, hook.Secrets[2].Until = now.Add(time.Hour), now.Add(-time.Second)
	got, err := sign(hook, "m", now, body)
	testkit.Must(t, err)
	headers := http.Header{"Webhook-Id": {"m"}, "Webhook-Timestamp": {strconv.FormatInt(now.Unix(), 10)}, "Webhook-Signature": {got}}
	for s, good := range map[string]bool{secret: true, old: true, over: false} {
		key, err := webhooks.NewWebhook(s)
		testkit.Must(t, err)
		if err := key.Verify(body, headers); (err == nil) != good {
			t.Errorf("%s: %v, good is %v", s, err, good)
		}
	}
	for _, wrong := range []wire.Webhook{{}, {Secrets: []wire.WebhookSecret{{Secret: "whsec_?"}}}} {
		if got, err := sign(wrong, "m", now, body); err == nil || strings.Contains(err.Error(), "?") {
			t.Errorf("%v: %q, %v", wrong, got, err)
		}
	}
}

func TestCheckURL(t *testing.T) {
	for url, private := range map[string][2]bool{ // good where addresses have to be public, and where not
		"https://shop.example/hooks?a=b": {true, true}, "https://shop.example:8443/": {true, true}, "https://[2606:4700::1111]/": {true, true},
		"http://shop.example/": {false, true}, "https://127.0.0.1/": {false, true}, "https://[::ffff:10.0.0.1]/": {false, true},
		"https://169.254.169.254/latest": {false, true}, "https://[fd00::1]/": {false, true}, "https://[64:ff9b::a00:1]/": {false, true},
		"https://100.64.0.1/": {false, true}, "https://168.63.129.16/": {false, true}, "https://0.0.0.0/": {false, true}, "https://[::1%25lo]/": {false, true},
		"https://user:secret@shop.example/": {false, false}, "https://shop.example/#a": {false, false}, "ftp://shop.example/": {false, false},
		"file:///etc/passwd": {false, false}, "shop.example": {false, false}, "": {false, false}, "https://" + strings.Repeat("a", wire.MaxWebhookURL): {false, false},
	} {
		for i, p := range []bool{false, true} {
			if err := CheckURL(url, p); (err == nil) != private[i] {
				t.Errorf("%.60s, private %v: %v", url, p, err)
			}
		}
	}
}

// TestHostileEndpoint has a server lead elsewhere, say too much and never end.
func TestHostileEndpoint(t *testing.T) {
	asked := make(chan string, 16)
	var server *httptest.Server
	server = httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		asked <- r.URL.Path
		io.Copy(io.Discard, r.Body) // or the server does not learn that the client has gone
		switch r.URL.Path {
		case "/redirect":
			http.Redirect(w, r, server.URL+"/inside", http.StatusTemporaryRedirect)
		case "/endless":
			for {
				if _, err := w.Write(bytes.Repeat([]byte("x"), 1<<16)); err != nil {
					return
				}
			}
		case "/headers":
			w.Header().Set("X", strings.Repeat("x", 1<<20))
		case "/silent":
			<-r.Context().Done()
		case "/busy":
			w.Header().Set("Retry-After", "999999")
			w.WriteHeader(http.StatusTooManyRequests)
		}
	}))
	defer server.Close()
	client := newClient(true)
	defer client.CloseIdleConnections()
	ask := func(client *http.Client, path string, within time.Duration, private bool) error {
		ctx, cancel := context.WithTimeout(t.Context(), within)
		defer cancel()
		return post(ctx, client, wire.Webhook{URL: server.URL + path, Secrets: []wire.WebhookSecret{{Secret: NewSecret()}}}, "m", []byte("{}"), private)
	}
	for path, want := range map[string]string{
		"/": "", "/endless": "", "/redirect": "it answered 307, and redirects are not followed", "/headers": "it cannot be reached: ", "/silent": "it cannot be reached: ",
	} {
		within := time.Minute
		if path == "/silent" {
			within = 200 * time.Millisecond
		}
		if err := ask(client, path, within, true); (err == nil) != (want == "") || err != nil && (!strings.HasPrefix(err.Error(), want) || strings.Contains(err.Error(), server.URL)) {
			t.Errorf("%s: %v, want %q", path, err, want)
		}
	}
	var refused refusal
	if err := ask(client, "/busy", time.Minute, true); !errors.As(err, &refused) || refused.after != time.Hour {
		t.Errorf("busy: %v, %+v", err, refused)
	}
	close(asked)
	if paths := slices.Collect(func(yield func(string) bool) {
		for p := range asked {
			if !yield(p) {
				return
			}
		}
	}); slices.Contains(paths, "/inside") {
		t.Errorf("a redirect is followed: %q", paths)
	}
}

// TestPrivateAddress has a name that resolves to this machine: what counts is what is dialled.
func TestPrivateAddress(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	testkit.Must(t, err)
	defer listener.Close()
	client := newClient(false)
	defer client.CloseIdleConnections()
	_, port, _ := net.SplitHostPort(listener.Addr().String())
	hook := wire.Webhook{URL: "https://localhost:" + port + "/", Secrets: []wire.WebhookSecret{{Secret: NewSecret()}}}
	if err := post(t.Context(), client, hook, "m", nil, false); !errors.Is(err, errPrivate) {
		t.Errorf("%v", err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 100*time.Millisecond) // nobody answers there
	defer cancel()
	if err := post(ctx, newClient(true), hook, "m", nil, true); errors.Is(err, errPrivate) || err == nil {
		t.Errorf("a control: %v", err)
	}
}
