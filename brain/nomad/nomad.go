// Package nomad is the brain's view of Nomad, and the only place that knows its
// API.
//
// An app is a job that is parameterized, of type batch, not stopped, and whose
// first task runs with the stream driver. Its meta says how it is offered:
//
//	meta {
//	  warm        = "2"    # idle seats to keep ready; default 0
//	  max         = "20"   # seats of any state at this site; default 100
//	  title       = "Car configurator"   # default the job's id
//	  description = "…"
//	  picture     = "/pictures/car.webp"
//	}
//
// A seat is a child of it, dispatched with the id prefix v<job version>, so that
// a seat's version stands in its name: viewer/dispatch-v3-1763880000-5f0a….
package nomad

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

const defaultMax = 100

// Config says how to reach Nomad.
type Config struct {
	Address string // host:port or a URL; empty is NOMAD_ADDR or 127.0.0.1:4646
	Token   string // empty is NOMAD_TOKEN
	Log     *slog.Logger
}

// Client is brain.Nomad. TLS is taken from Nomad's own environment variables
// (NOMAD_CACERT and so on).
type Client struct {
	api    *api.Client
	log    *slog.Logger
	driver string // "stream"; tests run jobs of another
}

// Open makes a Client. It does not speak to Nomad yet.
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
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("open nomad at %s: %w", c.Address, err)
	}
	return &Client{api: client, log: cfg.Log, driver: "stream"}, nil
}

// Close lets go of idle connections.
func (c *Client) Close() { c.api.Close() }

func query(ctx context.Context) *api.QueryOptions { return (&api.QueryOptions{}).WithContext(ctx) }

// Dispatch implements brain.Nomad.
func (c *Client) Dispatch(ctx context.Context, app brain.App, token string) (string, error) {
	opts := (&api.WriteOptions{IdempotencyToken: token}).WithContext(ctx)
	resp, _, err := c.api.Jobs().DispatchOpts(&api.DispatchOptions{
		JobID: app.ID, IdPrefixTemplate: "v" + strconv.FormatUint(app.Version, 10)}, opts)
	// Nomad says this with status 500, so the words have to do.
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
		return fmt.Errorf("stop %s: is not a dispatched child", child)
	}
	_, _, err := c.api.Jobs().Deregister(child, false, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil && status(err) != http.StatusNotFound {
		return fmt.Errorf("stop %s: %w", child, err)
	}
	return nil
}

// Live implements brain.Nomad.
func (c *Client) Live(ctx context.Context, app string) ([]string, error) {
	stubs, _, err := c.api.Jobs().List(prefixed(ctx, app+api.JobDispatchLaunchSuffix))
	if err != nil {
		return nil, fmt.Errorf("list children of %s: %w", app, err)
	}
	stubs = slices.DeleteFunc(stubs, func(s *api.JobListStub) bool {
		return s.ParentID != app || s.Stop || s.Status == "dead"
	})
	slices.SortFunc(stubs, func(a, b *api.JobListStub) int {
		if a.CreateIndex != b.CreateIndex {
			return int(int64(a.CreateIndex) - int64(b.CreateIndex))
		}
		return strings.Compare(a.ID, b.ID)
	})
	ids := make([]string, len(stubs))
	for i, s := range stubs {
		ids[i] = s.ID
	}
	return ids, nil
}

func prefixed(ctx context.Context, prefix string) *api.QueryOptions {
	q := query(ctx)
	q.Prefix = prefix
	return q
}

func status(err error) int {
	var response api.UnexpectedResponseError
	if errors.As(err, &response) {
		return response.StatusCode()
	}
	return 0
}

// job is what is read of a job, from a query or an event.
type job struct {
	ID                       string
	ParentID                 string
	Name                     string
	Type                     string
	Stop                     bool
	Status                   string
	Version                  uint64
	Meta                     map[string]string
	Dispatched               bool
	DispatchIdempotencyToken string
	ParameterizedJob         *struct{}
	SubmitTime               int64
	TaskGroups               []struct {
		Tasks []struct {
			Driver string
			Config map[string]any
		}
	}
}

// app reads a job as an app; ok is false where it is none.
func (c *Client) app(j job) (app brain.App, ok bool) {
	if j.ParameterizedJob == nil || j.Dispatched || j.Stop || j.Type != "batch" ||
		len(j.TaskGroups) == 0 || len(j.TaskGroups[0].Tasks) == 0 || j.TaskGroups[0].Tasks[0].Driver != c.driver {
		return app, false
	}
	number := func(key string, otherwise int) int {
		text, ok := j.Meta[key]
		if !ok {
			return otherwise
		}
		n, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || n < 0 {
			c.log.Warn("a job's meta is not a number from 0; the default stands", "job", j.ID, "meta", key, "value", text, "default", otherwise)
			return otherwise
		}
		return n
	}
	app = brain.App{ID: j.ID, Version: j.Version, Title: j.Meta["title"], Description: j.Meta["description"],
		Picture: j.Meta["picture"], Warm: number("warm", 0), Max: number("max", defaultMax),
		Display: display(j.TaskGroups[0].Tasks[0].Config)}
	if app.Title == "" {
		app.Title = j.ID
	}
	app.Warm = min(app.Warm, app.Max)
	return app, true
}

// display reads the task config's display block, which JSON shows as an object
// or as a list of one. What is left out is as the driver has it.
func display(config map[string]any) wire.Display {
	d := wire.Display{Width: 1280, Height: 720, FPS: 30, Pointer: wire.PointerAbsolute, Audio: true}
	if audio, ok := config["audio"].(bool); ok {
		d.Audio = audio
	}
	block := config["display"]
	if list, ok := block.([]any); ok && len(list) > 0 {
		block = list[0]
	}
	fields, _ := block.(map[string]any)
	set := func(key string, to *int) {
		switch v := fields[key].(type) {
		case float64:
			*to = int(v)
		case string: // HCL converts "1280" too
			if n, err := strconv.Atoi(v); err == nil {
				*to = n
			}
		}
	}
	set("width", &d.Width)
	set("height", &d.Height)
	set("fps", &d.FPS)
	if p, ok := fields["pointer"].(string); ok && p != "" {
		d.Pointer = p
	}
	if audio, ok := fields["audio"].(bool); ok {
		d.Audio = audio
	}
	return d
}

// child reads a dispatched job.
func child(j job) brain.Child {
	c := brain.Child{ID: j.ID, App: j.ParentID, Token: j.DispatchIdempotencyToken, Created: time.Unix(0, j.SubmitTime)}
	if rest, ok := strings.CutPrefix(j.ID, j.ParentID+api.JobDispatchLaunchSuffix+"v"); ok {
		digits, _, _ := strings.Cut(rest, "-")
		c.Version, _ = strconv.ParseUint(digits, 10, 64)
	}
	return c
}
