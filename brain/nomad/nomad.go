// Package nomad implements brain.Nomad. It is the only part of the brain that
// knows Nomad's API.
//
// An app is a job in the apps' namespace that is parameterized, has type batch, is
// not stopped, and whose first task uses the stream driver. Its meta says how it is
// offered:
//
//	meta {
//	  warm        = "2"    # idle seats to keep ready; default 0
//	  max         = "20"   # seats of any state at this site; default 100
//	  title       = "Car configurator"   # default the job's id
//	  description = "…"
//	  picture     = "/pictures/car.webp"
//	  access      = "public" // or "login" or "signed": who may launch it; default Config.DefaultAccess
//	  login_groups   = "staff, partners"  // with login: who of those that the provider knows
//	  login_subjects = "248289761001"
//	}
//
// A seat is a child of this job. It is dispatched with the id prefix v<job
// version>-<idempotency token>, so a child's id tells both, and no list of children
// needs a question for each: viewer/dispatch-v3-s-abc…-1763880000-5f0a…. A slash of
// the token is a tilde there.
//
// Watch reads what lives in Nomad's tables once, in pages, and then follows its event
// stream. It tells everything once, and then what changed:
//
//	client, err := nomad.Open(nomad.Config{Address: "127.0.0.1:4646", Namespace: "apps"})
//	client.Watch(ctx, func(change brain.JobsChange) { … }) // returns when ctx ends
//
// When the stream breaks, it goes on from the last event. Nomad says nothing where it
// does not have that event any more, so Watch looks whether the event comes again. If
// not, it reads the tables again while it follows the new stream, and tells the
// differences.
//
// A dead child is told once, with its end, and forgotten. Events about it that come
// later do not bring it back: only its registration begins a life, and only a newer
// allocation, for as long as Nomad may make one, a new one.
package nomad

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

const defaultMax = 100

// Config says how to reach Nomad.
type Config struct {
	Address string // host:port or a URL; empty means NOMAD_ADDR, else 127.0.0.1:4646
	Token   string // empty means NOMAD_TOKEN
	// Namespace is where apps are. Empty means Nomad's default namespace, and not
	// NOMAD_NAMESPACE, which in a brain's task is the brain's own.
	Namespace string
	// Region is the site's, where another site's server answers; empty means NOMAD_REGION, else
	// the server's own.
	Region string
	// DefaultAccess is the access of apps whose job does not say it; empty means signed.
	DefaultAccess wire.Access
	Log           *slog.Logger
}

// Client is a brain.Nomad. Nomad's own environment variables (NOMAD_CACERT and
// others) configure TLS.
type Client struct {
	api       *api.Client
	namespace string
	log       *slog.Logger
	driver    string // "stream"; tests use another
	access    wire.Access
	// How long the pages of lists are, and how often the jobs are compared; tests have
	// shorter ones.
	jobsPerPage, allocsPerPage int32
	resync                     time.Duration
}

// Open makes a Client. It does not connect yet.
func Open(cfg Config) (*Client, error) {
	c := api.DefaultConfig()
	if cfg.Address != "" {
		c.Address = cfg.Address
		if !strings.Contains(c.Address, "://") {
			c.Address = "http://" + c.Address
		}
	}
	if cfg.Token != "" {
		c.SecretID = cfg.Token
	}
	if cfg.Region != "" {
		c.Region = cfg.Region
	}
	c.Namespace = cmp.Or(cfg.Namespace, api.DefaultNamespace)
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("open nomad at %s: %w", c.Address, err)
	}
	return &Client{api: client, namespace: c.Namespace, log: cfg.Log, driver: "stream",
		jobsPerPage: 1000, allocsPerPage: 500, resync: resync, access: cmp.Or(cfg.DefaultAccess, wire.AccessSigned)}, nil
}

// Close closes idle connections.
func (c *Client) Close() { c.api.Close() }

func query(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }

// Dispatch implements brain.Nomad.
func (c *Client) Dispatch(ctx context.Context, app brain.App, token string) (string, error) {
	opts := (&api.WriteOptions{IdempotencyToken: token}).WithContext(ctx)
	resp, _, err := c.api.Jobs().DispatchOpts(&api.DispatchOptions{
		JobID: app.ID, IdPrefixTemplate: prefix(app.Version, token)}, opts)
	// Nomad answers both with status 500, so only the text tells.
	if err != nil && (strings.Contains(err.Error(), "job not found") || strings.Contains(err.Error(), "is stopped")) {
		return "", fmt.Errorf("dispatch %s: %w", app.ID, brain.ErrNoApp)
	}
	if err != nil {
		return "", fmt.Errorf("dispatch %s: %w", app.ID, err)
	}
	return resp.DispatchedJobID, nil
}

// Stop implements brain.Nomad.
func (c *Client) Stop(ctx context.Context, child string) error {
	if !strings.Contains(child, api.JobDispatchLaunchSuffix) {
		return fmt.Errorf("stop %s: not a dispatched child", child)
	}
	_, _, err := c.api.Jobs().Deregister(child, false, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil && status(err) != http.StatusNotFound {
		return fmt.Errorf("stop %s: %w", child, err)
	}
	return nil
}

// Live implements brain.Nomad.
func (c *Client) Live(ctx context.Context, app string) ([]string, error) {
	q := query(ctx)
	q.Prefix = app + api.JobDispatchLaunchSuffix
	q.Filter = fmt.Sprintf(`ParentID == %q and Status != "dead" and Stop == false`, app)
	type child struct {
		ID          string
		CreateIndex uint64
	}
	var children []child
	if _, err := pages(c, "/v1/jobs", q, c.jobsPerPage, &children); err != nil {
		return nil, fmt.Errorf("list children of %s: %w", app, err)
	}
	slices.SortFunc(children, func(a, b child) int {
		return cmp.Or(cmp.Compare(a.CreateIndex, b.CreateIndex), cmp.Compare(a.ID, b.ID))
	})
	ids := make([]string, len(children))
	for i, child := range children {
		ids[i] = child.ID
	}
	return ids, nil
}

func status(err error) int {
	var response api.UnexpectedResponseError
	if errors.As(err, &response) {
		return response.StatusCode()
	}
	return 0
}
