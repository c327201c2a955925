package main

import (
	"context"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/coder/websocket"
	"github.com/coder/websocket/wsjson"
	"github.com/oauth2-proxy/mockoidc"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/browser"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestLoginWalk is a person's way to an app that asks for a login: router, provider, Consul and browser
// are real. In the brain's place is what reads the ticket that the page brings.
func TestLoginWalk(t *testing.T) {
	chrome := browser.Start(t)
	consul := testkit.StartConsul(t)
	provider, err := mockoidc.Run()
	testkit.Must(t, err)
	defer provider.Shutdown()
	user := func(groups ...string) {
		provider.QueueUser(&mockoidc.MockUser{Subject: "4711", PreferredUsername: "ada", Groups: groups})
	}
	ctx, stop := context.WithTimeout(t.Context(), 2*time.Minute)
	defer stop()
	key, public := testkit.TicketKeys(t, t.TempDir())
	secret := filepath.Join(t.TempDir(), "oidc.secret")
	testkit.Must(t, os.WriteFile(secret, []byte(provider.ClientSecret+"\n"), 0o600))
	verifier, err := ticket.LoadVerifier(public)
	testkit.Must(t, err)
	tickets := make(chan string, 8)
	brain := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		conn, err := websocket.Accept(rw, r, &websocket.AcceptOptions{InsecureSkipVerify: true}) // pages of every origin
		if err != nil {
			return
		}
		defer conn.CloseNow()
		var hello wire.Message
		if wsjson.Read(ctx, conn, &hello) == nil {
			select {
			case tickets <- hello.Ticket:
			default: // the page comes again
			}
		}
		for err == nil {
			_, _, err = conn.Read(ctx)
		}
	}))
	defer brain.Close()

	log := testkit.Logger(t)
	f, err := fleet.Open(fleet.Config{Address: consul.Address, Log: log})
	testkit.Must(t, err)
	defer f.Close()
	registration, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "b1", Site: "dc1", URL: "ws" + brain.URL[len("http"):], Address: brain.Listener.Addr().String()})
	testkit.Must(t, err)
	defer registration.Close()
	testkit.UntilSeen(t, "the app is published", func() (any, bool) {
		err := f.PublishApp(ctx, wire.App{ID: "cad-viewer", Version: 1, Title: "CAD viewer", Access: wire.AccessLogin, Login: wire.AppLogin{Groups: []string{"staff"}},
			Capacity: wire.Capacity{Idle: 1, Max: 4}})
		return err, err == nil
	})
	address := testkit.Address(t)
	router := "http://" + address
	done := make(chan error, 1)
	routing, end := context.WithCancel(ctx)
	go func() {
		done <- runRouter(routing, routerFlags{listen: address, internal: "127.0.0.1:0", consul: consul.Address, ticketKey: key, ticketKeys: public, site: "dc1",
			frameAncestors: []string{router}, login: loginFlags{issuer: provider.Issuer(), clientID: provider.ClientID, secretFile: secret, scopes: []string{"groups"}, claim: "groups", lasts: time.Hour, sessions: 2}}, log)
	}()
	defer func() { end(); <-done }()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	testkit.UntilSeen(t, "the router asks for a login", func() (any, bool) {
		res, err := client.Get(router + "/v1/apps/cad-viewer")
		if err != nil {
			return err, false
		}
		res.Body.Close()
		return res.Status, res.StatusCode == http.StatusUnauthorized
	})

	// No login carries so long a query: the page remembers it.
	query := "?model=bridge&" + strings.Repeat("a", 3000)
	page, err := chrome.Open(ctx, router+"/play/cad-viewer"+query)
	testkit.Must(t, err)
	defer page.Close()
	until := func(condition string) {
		t.Helper()
		testkit.Must(t, page.Until(ctx, condition))
	}
	says := func(text string) string { return "document.body.innerText.includes('" + text + "')" }
	here := func(query string) string { return "location.search === '" + query + "' && location.hash === ''" }
	// With NEARCAST_SCREENSHOTS=dir it leaves pictures there.
	shot := func(name string) {
		dir := os.Getenv("NEARCAST_SCREENSHOTS")
		if dir == "" {
			return
		}
		for size, of := range map[string]browser.Size{"phone": {Width: 390, Height: 844}, "desktop": {Width: 1280, Height: 720}} {
			testkit.Must(t, page.Resize(ctx, of))
			until("document.querySelector('nearcast-player').shadowRoot.getAnimations().every((a) => a.playState !== 'running' || a.effect.getComputedTiming().endTime === Infinity)")
			png, err := page.Screenshot(ctx)
			testkit.Must(t, err)
			testkit.Must(t, os.WriteFile(filepath.Join(dir, name+"-"+size+".png"), png, 0o644))
		}
	}
	played := func() {
		t.Helper()
		select {
		case token := <-tickets:
			claims, err := verifier.Verify(token)
			if err != nil || claims.Subject != ticket.HashSubject("login:"+provider.Issuer(), "4711") || claims.Network != "" {
				t.Errorf("the ticket says %+v, %v", claims, err)
			}
		case <-ctx.Done():
			t.Fatalf("the page does not play: %v", page.Console())
		}
	}
	until(says("Log in to play"))
	shot("login")

	// Somebody whose group may not.
	user("guests")
	testkit.Must(t, page.Click(ctx, "a.log-in"))
	until(says("You may not play this app") + " && " + here(query))
	shot("login-groups")
	select {
	case <-tickets:
		t.Error("a person who may not play has a ticket")
	default:
	}

	// As somebody else: they come back to the same page, and play at once.
	user("staff")
	testkit.Must(t, page.Click(ctx, "a.log-in"))
	played()
	until(here(query))
	page.Close()

	// A second page knows the person, and logs them out.
	page, err = chrome.Open(ctx, router+"/play/cad-viewer?model=tower")
	testkit.Must(t, err)
	defer page.Close()
	until(says("ada") + " && " + says("CAD viewer"))
	shot("login-ready")
	testkit.Must(t, page.Click(ctx, ".person button"))
	until(says("Log in to play") + " && !" + says("ada"))
	shot("login-out")

	// In a frame, whose address no login leads back to.
	testkit.Must(t, page.Eval(ctx, "window.document.body.append(Object.assign(window.document.createElement('iframe'), {src: '/play/cad-viewer', className: 'test'}))", nil))
	until("((player) => player?.querySelector('h1')?.innerText === 'This app needs a login' && player.querySelector('a.primary')?.target === '_blank')(document.querySelector('.test').contentDocument?.querySelector('nearcast-player')?.shadowRoot)")
	testkit.Must(t, page.Eval(ctx, "document.querySelector('.test').remove()", nil))

	user("staff")
	testkit.Must(t, page.Click(ctx, "a.log-in"))
	played()
	until(here("?model=tower"))

	// A page of another origin, which no login leads back to.
	other := httptest.NewServer(http.HandlerFunc(func(rw http.ResponseWriter, _ *http.Request) {
		rw.Header().Set("Content-Type", "text/html")
		_, _ = rw.Write([]byte(`<!doctype html><title>shop</title><script type="module" src="` + router + `/assets/js/element.js"></script>
			<nearcast-player lang="en" src="` + router + `" app="cad-viewer" style="height: 600px"></nearcast-player>`))
	}))
	defer other.Close()
	shop, err := chrome.Open(ctx, other.URL)
	testkit.Must(t, err)
	defer shop.Close()
	testkit.Must(t, shop.Until(ctx, says("This app needs a login")+" && document.querySelector('a.primary')?.href === '"+router+"/play/cad-viewer' && document.querySelector('nearcast-player').state === 'unavailable'"))
}
