package platform_test

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/http/cookiejar"
	"net/url"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/console/nomad"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// TestConsole runs the console as a job at a site whose Consul and Nomad deny by default, tries each
// action with the tokens of each role, and walks through the page's API as an admin.
func TestConsole(t *testing.T) {
	s := newSite(t)
	operators := uuid.NewString()
	s.nomad("var", "put", "nomad/jobs/router", "ticket_key=@"+s.path("keys/ticket-key.pem"), "ticket_keys=@"+s.path("keys/ticket-keys.pem"), "operator_token="+operators)
	s.nomad("var", "put", "nomad/jobs/brain", "ticket_keys=@"+s.path("keys/ticket-keys.pem"))
	s.run("router")
	s.run("brain")
	job, err := os.ReadFile("../../e2e/jobs/testapp.nomad.hcl")
	testkit.Must(t, err)
	publish := wire.ConsolePublish{Job: string(job), Variables: map[string]string{"name": "app", "testapp": s.path("bin/testapp"), "warm": "1"}}

	tokens := map[wire.ConsoleRole]string{}
	for _, role := range []wire.ConsoleRole{wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin} {
		args := []string{"acl", "token", "create", "-json", "-policy=nearcast-console-" + string(role)}
		var token struct{ SecretID string }
		testkit.Must(t, json.Unmarshal([]byte(s.command("nomad", args...)), &token))
		tokens[role] = token.SecretID
	}
	// What makes a job an app is the brain's to say, and tested there.
	check := func(*api.Job) ([]string, error) { return nil, nil }
	client, err := nomad.Open(nomad.Config{Address: s.nomadAddress, Tokens: tokens, Namespace: "apps", Check: check})
	testkit.Must(t, err)
	defer client.Close()

	s.sub("each role at Nomad itself", func(t *testing.T) {
		nodes, err := client.Nodes(s.ctx, "dc1")
		if err != nil || len(nodes) != 1 || nodes[0].Version == "" || !nodes[0].Eligible {
			t.Fatalf("nodes: %+v, %v", nodes, err)
		}
		node, warm := nodes[0].ID, 1
		version := func() uint64 {
			j, err := client.Job(s.ctx, "dc1", "app")
			testkit.Must(t, err)
			return j.Versions[0].Version
		}
		order := func(act wire.ConsoleAct) func(context.Context, wire.ConsoleRole) error {
			return func(ctx context.Context, role wire.ConsoleRole) error {
				return client.Order(ctx, role, "dc1", node, wire.ConsoleNodeOrder{Action: act, DeadlineS: 5})
			}
		}
		for _, a := range []struct {
			name string
			from wire.ConsoleRole // who may
			do   func(context.Context, wire.ConsoleRole) error
		}{
			{"publish", wire.RoleAdmin, func(ctx context.Context, role wire.ConsoleRole) error {
				_, err := client.Publish(ctx, role, "dc1", publish)
				return err
			}},
			{"scale", wire.RoleAdmin, func(ctx context.Context, role wire.ConsoleRole) error {
				warm++
				_, err := client.Scale(ctx, role, "dc1", "app", wire.ConsoleScale{Warm: &warm, Version: version()})
				return err
			}},
			{"revert", wire.RoleAdmin, func(ctx context.Context, role wire.ConsoleRole) error {
				_, err := client.Revert(ctx, role, "dc1", "app", wire.ConsoleRevert{To: 0, Version: version()})
				return err
			}},
			{"ineligible", wire.RoleOperator, order(wire.ActKeep)},
			{"drain", wire.RoleOperator, order(wire.ActDrain)},
			{"eligible", wire.RoleOperator, order(wire.ActFree)},
		} {
			// The admin first: what the others try exists then.
			for _, role := range []wire.ConsoleRole{wire.RoleAdmin, wire.RoleOperator, wire.RoleViewer} {
				err := a.do(s.ctx, role)
				var p wire.Problem
				allowed := role == wire.RoleAdmin || role == a.from
				if allowed != (err == nil) || !allowed && (!errors.As(err, &p) || p.Type != wire.ConsoleProblemRole) {
					t.Errorf("%s as %s: %v", a.name, role, err)
				}
			}
		}
		var p wire.Problem
		if _, err := client.Scale(s.ctx, wire.RoleAdmin, "dc1", "app", wire.ConsoleScale{Warm: &warm, Version: 999}); !errors.As(err, &p) || p.Status != http.StatusConflict {
			t.Errorf("a version that nobody saw: %v", err)
		}
		elsewhere := publish
		elsewhere.Job = strings.Replace(elsewhere.Job, `namespace   = "apps"`, `namespace   = "default"`, 1)
		if out, err := client.Publish(s.ctx, wire.RoleAdmin, "dc1", elsewhere); err != nil || len(out.Problems) != 1 || !strings.Contains(out.Problems[0], "namespace") {
			t.Errorf("a job of another namespace: %+v, %v", out, err)
		}
		// What the admin's token has to be refused, whatever the console says.
		for _, c := range []struct{ method, path, body string }{
			{"PUT", "/v1/jobs", intruder}, {"GET", "/v1/var/nomad/jobs/router", ""}, {"GET", "/v1/jobs?namespace=default", ""}, {"GET", "/v1/acl/tokens", ""},
		} {
			req, err := http.NewRequestWithContext(s.ctx, c.method, "http://"+s.nomadAddress+c.path, strings.NewReader(c.body))
			testkit.Must(t, err)
			req.Header.Set("X-Nomad-Token", tokens[wire.RoleAdmin])
			res, err := http.DefaultClient.Do(req)
			testkit.Must(t, err)
			text, _ := io.ReadAll(res.Body)
			res.Body.Close()
			if res.StatusCode != http.StatusForbidden && strings.TrimSpace(string(text)) != "[]" {
				t.Errorf("the admin's token, %s %s: %s %s", c.method, c.path, res.Status, text)
			}
		}
	})

	s.sub("the job, as an admin", func(t *testing.T) {
		login, port := uuid.NewString(), testkit.Ports(t, 1)[0]
		s.nomad("var", "put", "nomad/jobs/console", "router_token="+operators, "viewer_token="+tokens[wire.RoleViewer],
			"operator_token="+tokens[wire.RoleOperator], "admin_token="+tokens[wire.RoleAdmin], "token="+login)
		base := "http://" + local(port)
		s.nomad("job", "run", "-var=driver=raw_exec", "-var=node_pool=default", "-var=url="+base, fmt.Sprintf("-var=port=%d", port),
			"-var=binary="+s.path("bin/nearcast"), `-var=options=["--consul=`+s.consulAddress+`","--nomad=`+s.nomadAddress+`","--token-role=admin"]`, "console.nomad.hcl")
		jar, _ := cookiejar.New(nil)
		browser := &http.Client{Jar: jar, CheckRedirect: func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }}
		res, err := browser.PostForm(base+wire.ConsoleLoginPath, url.Values{"token": {login}})
		testkit.Must(t, err)
		res.Body.Close()
		var me wire.ConsoleMe
		ask := func(method, path string, body, into any) int {
			text, err := json.Marshal(body)
			testkit.Must(t, err)
			req, err := http.NewRequestWithContext(s.ctx, method, base+path, strings.NewReader(string(text)))
			testkit.Must(t, err)
			req.Header.Set(wire.ConsoleCSRFHeader, me.CSRF)
			res, err := browser.Do(req)
			testkit.Must(t, err)
			defer res.Body.Close()
			got, err := io.ReadAll(res.Body)
			testkit.Must(t, err)
			if into != nil {
				if err := json.Unmarshal(got, into); err != nil || res.StatusCode >= 400 {
					t.Fatalf("%s %s: %s %s", method, path, res.Status, got)
				}
			}
			return res.StatusCode
		}
		if ask("GET", wire.ConsoleMePath, nil, &me); me.Role != wire.RoleAdmin || len(me.Actions) != 8 {
			t.Fatalf("me: %+v", me)
		}
		events := follow(t, s.ctx, browser, base+wire.ConsoleEventsPath)
		events.until("an app with an idle seat, on a node whose load is known", func(seen wire.ConsoleEvent) bool {
			return len(seen.Sites) == 1 && seen.Sites[0].Healthy && len(seen.Sites[0].Unread) == 0 && len(seen.Apps) == 1 && seen.Apps[0].Capacity.Idle > 0 &&
				len(seen.Nodes) == 1 && seen.Nodes[0].Load != "" && seen.Nodes[0].Eligible
		})
		launched := s.launch(s.address("router"))
		var placed wire.ConsolePlacement
		req, err := http.NewRequestWithContext(s.ctx, "GET", s.address("router")+wire.SessionsPath+"/"+launched.Session+wire.PlacementPath, nil)
		testkit.Must(t, err)
		req.Header.Set("Authorization", "Bearer "+operators)
		res, err = http.DefaultClient.Do(req)
		testkit.Must(t, err)
		defer res.Body.Close()
		if err := json.NewDecoder(res.Body).Decode(&placed); err != nil || len(placed.Candidates) != 1 || placed.Candidates[0].Reason == "" || placed.Entry != "dc1" {
			t.Errorf("why a session is where it is: %s %+v %v", res.Status, placed, err)
		}
		var detail wire.ConsoleAppDetail
		ask("GET", "/console/api/apps/dc1/app", nil, &detail)
		before := detail.Versions[0].Version
		warm := 2
		var out wire.ConsolePublished
		if ask("POST", "/console/api/apps/dc1/app/scale", wire.ConsoleScale{Warm: &warm, Version: before}, &out); out.Version != before+1 {
			t.Errorf("scale: %+v after version %d", out, before)
		}
		ask("GET", "/console/api/apps/dc1/app", nil, &detail)
		if v := detail.Versions[0]; v.Warm != "2" || len(v.Changes) == 0 {
			t.Errorf("the new version: %+v", v)
		}
		events.until("warm is 2", func(seen wire.ConsoleEvent) bool {
			return len(seen.Apps) == 1 && seen.Apps[0].Capacity.Warm == 2
		})
		var audit wire.ConsoleAudit
		if ask("GET", wire.ConsoleAuditPath, nil, &audit); len(audit.Actions) != 2 || audit.Actions[0].Act != wire.ActScale || audit.Actions[0].Result != "ok" || audit.Actions[1].Act != wire.ActLogin {
			t.Errorf("audit: %+v", audit)
		}
	})
}

// followed is a stream of the console's events, and what it has told so far.
type followed struct {
	t      *testing.T
	events chan wire.ConsoleEvent
	seen   wire.ConsoleEvent
}

func follow(t *testing.T, ctx context.Context, browser *http.Client, address string) *followed {
	t.Helper()
	req, err := http.NewRequestWithContext(ctx, http.MethodGet, address, nil)
	testkit.Must(t, err)
	res, err := browser.Do(req)
	testkit.Must(t, err)
	t.Cleanup(func() { res.Body.Close() })
	f := &followed{t: t, events: make(chan wire.ConsoleEvent, 100)}
	go func() {
		defer close(f.events)
		lines := bufio.NewScanner(res.Body)
		lines.Buffer(nil, 4<<20)
		for lines.Scan() {
			if text, ok := strings.CutPrefix(lines.Text(), "data: "); ok {
				var e wire.ConsoleEvent
				if json.Unmarshal([]byte(text), &e) == nil {
					f.events <- e
				}
			}
		}
	}()
	return f
}

// until reads events until what they tell of the one site, app and node is as wanted.
func (f *followed) until(what string, ok func(wire.ConsoleEvent) bool) {
	f.t.Helper()
	end := time.After(time.Minute)
	for !ok(f.seen) {
		select {
		case e, open := <-f.events:
			if !open {
				f.t.Fatalf("the stream ended before %s: %+v", what, f.seen)
			}
			if len(e.Sites) > 0 {
				f.seen.Sites = e.Sites
			}
			if len(e.Apps) > 0 {
				f.seen.Apps = e.Apps
			}
			if len(e.Nodes) > 0 {
				f.seen.Nodes = e.Nodes
			}
		case <-end:
			f.t.Fatalf("no event told of %s: %+v", what, f.seen)
		}
	}
}
