package main

import (
	"cmp"
	"context"
	"fmt"
	"io"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// shownApp is an app at a site.
type shownApp struct {
	App        string          `json:"app"`
	Title      string          `json:"title"`
	Version    uint64          `json:"version"`
	Registered time.Time       `json:"registered,omitzero"`
	Access     string          `json:"access"`
	Login      wire.AppLogin   `json:"login,omitzero"`
	Pool       string          `json:"node_pool"`
	Warm       int             `json:"warm"`
	WarmWait   float64         `json:"warm_wait,omitempty"` // with warm = "auto"
	Max        int             `json:"max"`
	Seats      nomad.SeatCount `json:"seats"`
	// Capacity is what the site's brains tell the routers; nil where Consul was not asked or does not
	// have it.
	Capacity *wire.Capacity  `json:"capacity,omitempty"`
	Updated  time.Time       `json:"updated,omitzero"` // of Capacity
	Failures []nomad.Failure `json:"failures"`
	Problems []string        `json:"problems"`
	Notes    []string        `json:"notes"`
}

func appShow(f *appFlags) *cobra.Command {
	var consul, consulToken string
	cmd := &cobra.Command{
		Use:   "show APP",
		Short: "Show an app at a site: version, access, seats, queue, last failures",
		Long: `Show an app as it is at a site now. Its job, its seats and how the last ones failed are
Nomad's. How many people wait, and how long a seat takes to start, are what the site's brains
tell its routers, in Consul: without Consul, that part is missing and a note says so.

Nomad forgets failed seats some hours after their end.

Exit status: 0, also where the job has problems; 1 where there is no such app.`,
		Example: `  nearcast app show viewer
  nearcast app show viewer --json | jq .seats`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			checks, err := f.open()
			if err != nil {
				return err
			}
			defer checks.Close()
			found, err := checks.Show(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			out := showable(found)
			if err := out.ask(cmd.Context(), fleet.Config{Address: consul, Token: consulToken}); err != nil {
				out.Notes = append(out.Notes, fmt.Sprintf("the queue is not known: %v", err))
			}
			if f.asJSON {
				return printJSON(cmd.OutOrStdout(), out)
			}
			return out.show(cmd.OutOrStdout())
		},
	}
	cmd.Flags().StringVar(&consul, "consul", "127.0.0.1:8500", "address of a Consul agent of the site")
	cmd.Flags().StringVar(&consulToken, "consul-token", "", "Consul ACL token that may read nearcast/apps/")
	return cmd
}

func showable(s nomad.Shown) shownApp {
	out := shownApp{App: s.App.ID, Title: s.App.Title, Version: s.App.Version, Registered: s.Registered, Access: "the site's", Login: s.App.Login,
		Pool: s.App.Pool, Warm: s.App.Warm, WarmWait: s.App.WarmWait, Max: s.App.Max, Seats: s.Seats, Failures: s.Failures,
		Problems: orNone(s.Problems), Notes: []string{}}
	if s.Access {
		out.Access = string(s.App.Access)
	}
	return out
}

// consulWithin bounds the question to Consul: most of an app is known without it.
const consulWithin = 5 * time.Second

// ask adds what the brains say.
func (a *shownApp) ask(ctx context.Context, cfg fleet.Config) error {
	registry, err := fleet.Open(cfg)
	if err != nil {
		return fmt.Errorf("--consul: %w", err)
	}
	defer registry.Close()
	ctx, cancel := context.WithTimeout(ctx, consulWithin)
	defer cancel()
	apps, err := registry.Apps(ctx)
	if err != nil {
		return err
	}
	app, ok := apps[a.App]
	if !ok {
		return fmt.Errorf("no brain of the site has told its routers of the app")
	}
	a.Capacity, a.Updated = &app.Capacity, app.Updated
	if a.Access == "the site's" {
		a.Access = string(app.Access)
	}
	if app.Version != a.Version {
		a.Notes = append(a.Notes, fmt.Sprintf("the brains still offer version %d", app.Version))
	}
	return nil
}

func (a *shownApp) show(w io.Writer) error {
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	warm := fmt.Sprint(a.Warm)
	if a.WarmWait > 0 {
		warm = fmt.Sprintf("auto: %.3g %% of people may wait", 100*a.WarmWait)
	}
	version := fmt.Sprint(a.Version)
	if !a.Registered.IsZero() {
		version += ", registered " + ago(a.Registered) + " ago"
	}
	rows := [][2]string{
		{"app", a.App}, {"title", a.Title}, {"version", version}, {"access", a.Access},
		{"groups", strings.Join(a.Login.Groups, ", ")}, {"subjects", strings.Join(a.Login.Subjects, ", ")},
		{"node pool", a.Pool}, {"warm", warm}, {"max", fmt.Sprint(a.Max)},
		{"seats", fmt.Sprintf("%d idle, %d busy, %d starting", a.Seats.Idle, a.Seats.Busy, a.Seats.Starting)},
	}
	if c := a.Capacity; c != nil {
		rows = append(rows, [2]string{"queue", fmt.Sprintf("%d wait, as of %s ago", c.Queued, ago(a.Updated))},
			[2]string{"warm now", fmt.Sprintf("%d aimed at", c.Warm)},
			[2]string{"a start takes", lasts(c.ColdStartMS)}, [2]string{"a session lasts", lasts(c.SessionMS)}, [2]string{"seats fail", c.Failing})
	}
	for _, row := range rows {
		if row[1] != "" {
			fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
		}
	}
	if err := table.Flush(); err != nil {
		return err
	}
	for _, f := range a.Failures {
		fmt.Fprintf(w, "failed %s ago, version %d, on %s: %s\n", ago(f.At), f.Version, cmp.Or(f.Node, "no node"), cmp.Or(f.Why, "Nomad says no reason"))
	}
	for _, problem := range a.Problems {
		fmt.Fprintf(w, "problem: %s\n", problem)
	}
	for _, note := range a.Notes {
		fmt.Fprintf(w, "note: %s\n", note)
	}
	return nil
}

// lasts is a median or mean in words; empty while nobody knows it.
func lasts(ms int64) string {
	if ms == 0 {
		return ""
	}
	return (time.Duration(ms) * time.Millisecond).Round(100 * time.Millisecond).String()
}
