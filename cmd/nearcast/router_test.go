package main

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestRouter runs a router against a real Consul that is killed and comes back.
func TestRouter(t *testing.T) {
	consul := testkit.StartConsul(t)
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	key, public := testkit.TicketKeys(t, t.TempDir())
	log := &testkit.Buffer{}
	logger := slog.New(slog.NewTextHandler(log, nil))
	defer func() {
		if t.Failed() {
			t.Log(log)
		}
	}()
	f, err := fleet.Open(fleet.Config{Address: consul.Address, Log: logger})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()

	address, inside := testkit.Address(t), testkit.Address(t)
	routerCtx, stop := context.WithCancel(ctx)
	done := make(chan error, 1)
	go func() {
		done <- runRouter(routerCtx, routerFlags{
			listen: address, internal: inside, consul: consul.Address, ticketKey: key, name: "r1",
		}, logger)
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	call := func(method, path, body string, out any) int {
		req, _ := http.NewRequestWithContext(ctx, method, "http://"+address+path, strings.NewReader(body))
		req.Header.Set("Content-Type", "application/json")
		res, err := client.Do(req)
		if err != nil {
			return 0
		}
		defer res.Body.Close()
		text, _ := io.ReadAll(res.Body)
		if err := json.Unmarshal(text, out); err != nil {
			t.Errorf("%s %s: %v: %s", method, path, err, text)
		}
		return res.StatusCode
	}
	sites := func() (s wire.SitesResponse) { call("GET", "/v1/sites", "", &s); return }

	testkit.UntilSeen(t, "the router is ready", func() (any, bool) { return log, strings.Contains(log.String(), "router ready") })
	brain, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "b1", Site: "dc1", URL: "ws://127.0.0.1:9", Address: "127.0.0.1:9"})
	if err != nil {
		t.Fatal(err)
	}
	defer brain.Close()
	app := wire.App{ID: "chess", Version: 1, Title: "Chess", Access: wire.AccessPublic, Capacity: wire.Capacity{Idle: 1, Warm: 1, Max: 4}, Updated: time.Now().UTC()}
	testkit.UntilSeen(t, "the app is published", func() (any, bool) { err := f.PublishApp(ctx, app); return err, err == nil })
	testkit.UntilSeen(t, "the router sees brain and app", func() (any, bool) {
		s := sites()
		return s, len(s.Sites) == 1 && s.Sites[0].Healthy && s.Sites[0].Apps["chess"].Idle == 1 && s.Entry == "dc1" &&
			s.Sites[0].BeaconURL == "http://"+address+"/v1/beacon" && s.Sites[0].BrainURL == "ws://127.0.0.1:9/v1/connect"
	})
	launch := func() (out wire.LaunchResponse) {
		t.Helper()
		if status := call("POST", "/v1/sessions", `{"app":"chess"}`, &out); status != 201 {
			t.Errorf("launch: %d", status)
		}
		return
	}
	verifier, err := ticket.LoadVerifier(public)
	if err != nil {
		t.Fatal(err)
	}
	if claims, err := verifier.Verify(launch().Ticket); err != nil || claims.App != "chess" {
		t.Errorf("%+v, %v", claims, err)
	}

	consul.Kill()
	testkit.UntilSeen(t, "the view is stale", func() (any, bool) { s := sites(); return s, s.Stale })
	if out := launch(); out.Site != "dc1" {
		t.Error("without Consul, no session can be placed")
	}
	consul.Restart(true) // without its data
	testkit.UntilSeen(t, "the app is published again", func() (any, bool) { err := f.PublishApp(ctx, app); return err, err == nil })
	testkit.UntilSeen(t, "the view is fresh and the brain back", func() (any, bool) {
		s := sites()
		return s, !s.Stale && s.Sites[0].Healthy && s.Sites[0].Apps["chess"].Max == 4
	})

	registered := func() []wire.Instance {
		watch, end := context.WithCancel(ctx)
		got := make(chan []wire.Instance, 16)
		w := f.WatchInstances(watch, wire.RouterService, func(list []wire.Instance) { got <- list })
		defer func() { end(); <-w.Done() }()
		select {
		case list := <-got:
			return list
		case <-ctx.Done():
			return nil
		}
	}
	testkit.UntilSeen(t, "the router is registered", func() (any, bool) {
		list := registered()
		key := ""
		if len(list) == 1 {
			key = list[0].Key // made when it starts
		}
		return list, len(key) == 43 && list[0] == wire.Instance{ID: "r1", Site: "dc1", URL: "http://" + address, Address: address, Internal: inside, Key: key, Healthy: true}
	})
	stop()
	select {
	case err := <-done:
		if err != nil {
			t.Error(err)
		}
	case <-time.After(60 * time.Second):
		t.Fatal("the router does not stop")
	}
	if list := registered(); len(list) != 0 {
		t.Errorf("still registered: %+v", list)
	}
}

// TestRouterWithoutConsul checks that a router starts before its Consul does.
func TestRouterWithoutConsul(t *testing.T) {
	defer testkit.NoLeaks(t, goleak.IgnoreCurrent())
	key, _ := testkit.TicketKeys(t, t.TempDir())
	address := testkit.Address(t)
	ctx, stop := context.WithCancel(t.Context())
	done := make(chan error, 1)
	go func() {
		done <- runRouter(ctx, routerFlags{listen: address, internal: "127.0.0.1:0", site: "dc1", consul: testkit.Address(t),
			ticketKey: key}, slog.New(slog.DiscardHandler))
	}()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	for path, want := range map[string]int{"/v1/beacon": 204, "/": 200, "/play/chess": 200, "/v1/apps": 503, "/healthz": 503} {
		testkit.UntilSeen(t, path, func() (any, bool) {
			res, err := client.Get("http://" + address + path)
			if err != nil {
				return err, false
			}
			res.Body.Close()
			return res.Status, res.StatusCode == want
		})
	}
	stop()
	if err := <-done; err != nil {
		t.Error(err)
	}
}

func TestRouterRefusesToStart(t *testing.T) {
	key, _ := testkit.TicketKeys(t, t.TempDir())
	weak := filepath.Join(t.TempDir(), "operator-token")
	if err := os.WriteFile(weak, []byte("secret\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	good := routerFlags{listen: "127.0.0.1:0", internal: "127.0.0.1:0", site: "dc1", consul: "127.0.0.1:1", ticketKey: key}
	for name, tt := range map[string]struct {
		change func(*routerFlags)
		want   string
	}{
		"address":      {func(f *routerFlags) { f.listen = "here" }, "--listen"},
		"internal":     {func(f *routerFlags) { f.internal = "here" }, "--internal-listen"},
		"proxy":        {func(f *routerFlags) { f.trustedProxies = []string{"all"} }, "--trusted-proxy"},
		"operator":     {func(f *routerFlags) { f.operatorToken = weak }, "too short"},
		"rate":         {func(f *routerFlags) { f.launchRate = -1 }, "launches"},
		"no key":       {func(f *routerFlags) { f.ticketKey = filepath.Join(t.TempDir(), "none") }, "--ticket-key"},
		"no keys":      {func(f *routerFlags) { f.ticketKeys = filepath.Join(t.TempDir(), "none") }, "--ticket-keys"},
		"any, no url":  {func(f *routerFlags) { f.listen = "0.0.0.0:0" }, "--url is needed"},
		"url":          {func(f *routerFlags) { f.url = "wss://x" }, "https://host"},
		"stun without": {func(f *routerFlags) { f.stun = []string{"x"} }, "stun:host"},
	} {
		t.Run(name, func(t *testing.T) {
			f := good
			tt.change(&f)
			ctx, stop := context.WithTimeout(t.Context(), 60*time.Second)
			defer stop()
			if err := runRouter(ctx, f, slog.New(slog.DiscardHandler)); err == nil || !strings.Contains(err.Error(), tt.want) {
				t.Errorf("%v, want %q in it", err, tt.want)
			}
		})
	}
}

func TestFlagsFromEnv(t *testing.T) {
	t.Setenv("NEARCAST_TICKET_KEY", "/from/env")
	t.Setenv("NEARCAST_SITE", "env-site")
	t.Setenv("NEARCAST_STUN", "stun:a:1,stun:b:1")
	t.Setenv("NEARCAST_URL", "")
	cmd := routerCommand()
	if err := cmd.ParseFlags([]string{"--site", "flag-site"}); err != nil {
		t.Fatal(err)
	}
	if err := flagsFromEnv(cmd); err != nil {
		t.Fatal(err)
	}
	for name, want := range map[string]string{
		"ticket-key": "/from/env", "site": "flag-site", "stun": "[stun:a:1,stun:b:1]", "url": "", "listen": "127.0.0.1:8080",
	} {
		if got := cmd.Flags().Lookup(name).Value.String(); got != want {
			t.Errorf("--%s is %q, want %q", name, got, want)
		}
	}
}

func TestTicketKey(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "keys")
	run := func() (string, error) {
		var out bytes.Buffer
		cmd := ticketKeyCommand()
		cmd.SetArgs([]string{dir})
		cmd.SetOut(&out)
		cmd.SetErr(io.Discard)
		return out.String(), cmd.Execute()
	}
	if _, err := run(); err != nil {
		t.Fatal(err)
	}
	if _, err := run(); err == nil || !strings.Contains(err.Error(), "move it away") {
		t.Errorf("a second key: %v", err)
	}
	if info, err := os.Stat(filepath.Join(dir, ticket.PrivateKeyFile)); err != nil || info.Mode().Perm() != 0o600 {
		t.Errorf("%v, %v", info, err)
	}
}
