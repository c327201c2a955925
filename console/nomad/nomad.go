// Package nomad reads and changes the Nomad region of each site, through the agent of the console's
// own site: Nomad's servers pass a request on to the region that it names. It implements
// console.Nomad.
//
// Each role has a token, and reads are made with that of the viewer. The tokens have to be global,
// and their policies are acl/nomad/console-*.hcl: what a role may not do, Nomad refuses.
//
//	n, err := nomad.Open(nomad.Config{Address: "127.0.0.1:4646", Tokens: tokens, Check: problemsOf})
//	nodes, err := n.Nodes(ctx, "eu-west-1")
package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/console"
	"github.com/nearcast/nearcast/internal/wire"
)

// Config says how to reach Nomad.
type Config struct {
	Address string // host:port or a URL
	// Tokens are those of the roles; empty where Nomad has no ACLs.
	Tokens map[wire.ConsoleRole]string
	// Namespace is where apps are.
	Namespace string
	// Check says why a job is no app.
	Check func(*api.Job) ([]string, error)
}

// Client is a console.Nomad.
type Client struct {
	roles     map[wire.ConsoleRole]*api.Client
	namespace string
	check     func(*api.Job) ([]string, error)
}

// Open makes a Client. It does not connect yet. Nomad's own environment variables configure TLS.
func Open(cfg Config) (*Client, error) {
	c := &Client{roles: map[wire.ConsoleRole]*api.Client{}, namespace: cfg.Namespace, check: cfg.Check}
	for _, role := range []wire.ConsoleRole{wire.RoleViewer, wire.RoleOperator, wire.RoleAdmin} {
		conf := api.DefaultConfig()
		conf.Address = cfg.Address
		if !strings.Contains(conf.Address, "://") {
			conf.Address = "http://" + conf.Address
		}
		// Never the token of the process's own environment: it may be another's.
		conf.SecretID, conf.Namespace, conf.Region = cfg.Tokens[role], cfg.Namespace, ""
		client, err := api.NewClient(conf)
		if err != nil {
			return nil, fmt.Errorf("open nomad at %s: %w", conf.Address, err)
		}
		c.roles[role] = client
	}
	return c, nil
}

// Close closes idle connections.
func (c *Client) Close() {
	for _, client := range c.roles {
		client.Close()
	}
}

func (c *Client) viewer() *api.Client { return c.roles[wire.RoleViewer] }

func at(ctx context.Context, site string) *api.QueryOptions {
	return (&api.QueryOptions{Region: site, AllowStale: true}).WithContext(ctx)
}

func to(ctx context.Context, site string) *api.WriteOptions {
	return (&api.WriteOptions{Region: site}).WithContext(ctx)
}

// Nodes implements console.Nomad.
func (c *Client) Nodes(ctx context.Context, site string) ([]wire.ConsoleNode, error) {
	stubs, _, err := c.viewer().Nodes().List(at(ctx, site))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	out := make([]wire.ConsoleNode, 0, len(stubs))
	for _, s := range stubs {
		n := wire.ConsoleNode{Site: site, ID: s.ID, Name: s.Name, Pool: s.NodePool, NodeClass: s.NodeClass, Address: s.Address, Status: s.Status,
			Eligible: s.SchedulingEligibility == api.NodeSchedulingEligible, Draining: s.Drain, Nomad: s.Version}
		if d := s.Drivers["stream"]; d != nil && d.Detected {
			n.Version = d.Attributes["driver.stream.version"]
		}
		out = append(out, n)
	}
	return out, nil
}

// failuresRead is how many failed seats are looked at: the newest.
const failuresRead = 50

// Jobs implements console.Nomad.
func (c *Client) Jobs(ctx context.Context, site string) (map[string]console.Job, error) {
	q := at(ctx, site)
	q.Filter = `ParentID == "" and Stop == false`
	// The library's own list has no pools.
	var stubs []struct{ ID, NodePool string }
	_, err := c.viewer().Raw().Query("/v1/jobs", &stubs, q)
	if err != nil {
		return nil, fmt.Errorf("list jobs: %w", err)
	}
	out := make(map[string]console.Job, len(stubs))
	for _, s := range stubs {
		out[s.ID] = console.Job{Pool: s.NodePool}
	}
	q = at(ctx, site)
	q.Filter, q.PerPage, q.Reverse = `ClientStatus == "failed"`, failuresRead, true
	allocs, _, err := c.viewer().Allocations().List(q)
	if err != nil {
		return nil, fmt.Errorf("list failed seats: %w", err)
	}
	for _, a := range allocs {
		app, _, _ := strings.Cut(a.JobID, api.JobDispatchLaunchSuffix)
		j, known := out[app]
		if f := failure(a); known && f.At.After(j.Failure.At) {
			j.Failure = f
			out[app] = j
		}
	}
	return out, nil
}

// failure reads from a task's events how its seat failed: what the driver said, else what Nomad said
// last.
func failure(a *api.AllocationListStub) console.Failure {
	f := console.Failure{At: time.Unix(0, a.ModifyTime).UTC().Truncate(time.Second), Why: a.ClientDescription}
	for _, task := range a.TaskStates {
		for _, e := range slices.Backward(task.Events) {
			said := e.Details["reason"] != ""
			if e.DisplayMessage != "" && (said || e.Type == api.TaskDriverFailure || e.Type == api.TaskTerminated || e.Type == api.TaskSetupFailure) {
				f.Why = e.DisplayMessage
				if said {
					break
				}
			}
		}
	}
	f.Why = short(f.Why, 500)
	return f
}

func short(text string, most int) string {
	return strings.ToValidUTF8(text[:min(len(text), most)], "")
}

// Job implements console.Nomad.
func (c *Client) Job(ctx context.Context, site, app string) (j console.Job, err error) {
	versions, diffs, _, err := c.viewer().Jobs().Versions(app, true, at(ctx, site))
	if err != nil {
		return j, said(fmt.Errorf("read the versions of %s: %w", app, err), wire.RoleViewer)
	}
	for i, v := range versions {
		one := wire.ConsoleVersion{Version: deref(v.Version), Submitted: time.Unix(0, deref(v.SubmitTime)).UTC().Truncate(time.Second),
			Title: cmp.Or(v.Meta["title"], app), Warm: v.Meta["warm"], Max: v.Meta["max"]}
		if i < len(diffs) && diffs[i] != nil {
			one.Changes = changes(diffs[i])
		}
		j.Versions = append(j.Versions, one)
		j.Pool = cmp.Or(j.Pool, deref(v.NodePool))
	}
	return j, nil
}

// maxChanges is how many changes of a version are named.
const maxChanges = 20

// changes name what differs from the version before.
func changes(d *api.JobDiff) (out []string) {
	add := func(path string, fields []*api.FieldDiff, objects []*api.ObjectDiff) {}
	add = func(path string, fields []*api.FieldDiff, objects []*api.ObjectDiff) {
		for _, f := range fields {
			if f.Type != "None" && len(out) < maxChanges {
				out = append(out, path+f.Name)
			}
		}
		for _, o := range objects {
			if o.Type != "None" {
				add(path+strings.ToLower(o.Name)+".", o.Fields, o.Objects)
			}
		}
	}
	add("", d.Fields, d.Objects)
	for _, g := range d.TaskGroups {
		add("group."+g.Name+".", g.Fields, g.Objects)
		for _, t := range g.Tasks {
			add("task."+t.Name+".", t.Fields, t.Objects)
		}
	}
	return out
}

func deref[T any](p *T) (zero T) {
	if p == nil {
		return zero
	}
	return *p
}

// said makes a problem of what Nomad said, where the person can do something about it.
func said(err error, role wire.ConsoleRole) error {
	var res api.UnexpectedResponseError
	if !errors.As(err, &res) {
		return err
	}
	body := strings.TrimSpace(res.Body())
	p := wire.Problem{Type: wire.ConsoleProblemJob, Title: "Nomad refuses this", Status: http.StatusUnprocessableEntity, Detail: short(body, 2000)}
	switch {
	case res.StatusCode() == http.StatusForbidden:
		p.Type, p.Status = wire.ConsoleProblemRole, http.StatusForbidden
		p.Detail = fmt.Sprintf("The console's token of the role %s has not the right: see acl/nomad/console-%s.hcl.", role, role)
	case res.StatusCode() == http.StatusNotFound || strings.Contains(body, "not found"):
		p.Type, p.Title, p.Status = wire.ProblemNotFound, "Nomad does not know this", http.StatusNotFound
	case strings.Contains(body, api.RegisterEnforceIndexErrPrefix) || strings.Contains(body, "enforcing version"):
		return changed()
	case res.StatusCode() >= http.StatusInternalServerError && (unanswered(body) || !strings.Contains(body, "error")):
		return err
	}
	return p
}

// unanswered reports whether a server did not decide about a request, by Nomad's words: the region is
// cut off, or has no leader. What a server of another region refuses comes with "rpc error" too.
func unanswered(body string) bool {
	for _, words := range []string{
		"No path to region", "No cluster leader", "failed to get conn", "lead thread didn't get connection", "i/o timeout", "i/o deadline reached", "connection refused",
		"connection reset", "broken pipe", "no route to host", "network is unreachable", "session shutdown", "keepalive timeout", "stream closed", "context deadline exceeded", "use of closed network connection",
	} {
		if strings.Contains(body, words) {
			return true
		}
	}
	return strings.HasSuffix(body, "EOF") || body == "rpc error: shutdown"
}

func changed() wire.Problem {
	return wire.Problem{Type: wire.ConsoleProblemChanged, Title: "Somebody else was faster", Status: http.StatusConflict, Detail: "The app has another version than you saw. Look at it again."}
}
