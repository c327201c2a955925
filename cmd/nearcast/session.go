package main

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// sessionFlags say which router is asked, and as whom.
type sessionFlags struct {
	router, apiKey string
	asJSON         bool
}

func sessionCommand() *cobra.Command {
	var f sessionFlags
	cmd := &cobra.Command{
		Use:   "session",
		Short: "List, show, watch and end sessions",
		Long: `List, show, watch and end sessions of all sites, through any router.

It needs an API key (nearcast apikey create), which shows the sessions of its customer,
or the operators' token of the sites, which shows all. Set it as NEARCAST_API_KEY: all
users of a machine can see command lines. --router can be set by NEARCAST_ROUTER.`,
		Example: `  export NEARCAST_ROUTER=https://play.example NEARCAST_API_KEY=nck_…
  nearcast session list --app cad-viewer --state streaming
  nearcast session watch
  nearcast session end s-eu-west-1-mfrggzdfmztwq2lknnwg23tpoa`,
		// Not the filters: a node's own NEARCAST_SITE would narrow a list without a word.
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd, "router", "api-key") },
	}
	flags := cmd.PersistentFlags()
	flags.StringVar(&f.router, "router", "", "URL of a router, such as https://play.example")
	flags.StringVar(&f.apiKey, "api-key", "", "API key or operators' token; prefer NEARCAST_API_KEY")
	flags.BoolVar(&f.asJSON, "json", false, "print JSON")
	cmd.AddCommand(sessionList(&f), sessionShow(&f), sessionEnd(&f), sessionWatch(&f))
	return cmd
}

// filterFlags adds the flags that choose sessions to a command.
func filterFlags(cmd *cobra.Command) *url.Values {
	q := &url.Values{}
	var app, subject, customer string
	var states, sites []string
	flags := cmd.Flags()
	flags.StringVar(&app, "app", "", "only sessions of this app")
	flags.StringVar(&subject, "subject", "", "only those of this person, as the customer names them")
	flags.StringVar(&customer, "customer", "", "only those of this customer (with the operators' token)")
	flags.StringSliceVar(&states, "state", nil, "only in this state: waiting, claimed, streaming, detached; can be repeated")
	flags.StringSliceVar(&sites, "site", nil, "only at this site; can be repeated")
	cmd.PreRunE = func(cmd *cobra.Command, _ []string) error {
		*q = url.Values{"limit": {strconv.Itoa(wire.MaxSessions)}}
		for name, values := range map[string][]string{"app": {app}, "subject": {subject}, "customer": {customer}, "state": states, "site": sites} {
			if !flags.Changed(name) {
				continue
			}
			if len(values) == 0 || slices.Contains(values, "") {
				return fmt.Errorf("--%s has no value; leave it out to list all", name)
			}
			(*q)[name] = values
		}
		return nil
	}
	return q
}

func sessionList(f *sessionFlags) *cobra.Command {
	cmd := &cobra.Command{Use: "list", Short: "List sessions", Args: cobra.NoArgs}
	q := filterFlags(cmd)
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		list, missing, err := f.all(cmd.Context(), *q)
		if err != nil {
			return err
		}
		if err := showSessions(cmd.OutOrStdout(), list, f.asJSON); err != nil {
			return err
		}
		return missed(missing)
	}
	return cmd
}

func missed(sites []string) error {
	if len(sites) == 0 {
		return nil
	}
	return fmt.Errorf("the list is not whole: %s did not answer in full", strings.Join(sites, ", "))
}

func showSessions(w io.Writer, list []wire.SessionView, asJSON bool) error {
	if asJSON {
		return printJSON(w, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "No sessions.")
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "SESSION\tAPP\tSITE\tSTATE\tSINCE\tCUSTOMER\tSUBJECT")
	for _, v := range list {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\t%s\t%s\n", v.Session, v.App, v.Site, v.State, ago(v.Since), cmp.Or(v.Customer, "-"), cmp.Or(v.Subject, "-"))
	}
	return table.Flush()
}

// ago is how long ago something was, in whole seconds.
func ago(t time.Time) string { return time.Since(t).Truncate(time.Second).String() }

func sessionShow(f *sessionFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "show SESSION",
		Short: "Show a session",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var v wire.SessionView
			if err := f.one(cmd.Context(), http.MethodGet, args[0], &v); err != nil {
				return err
			}
			w := cmd.OutOrStdout()
			if f.asJSON {
				return printJSON(w, v)
			}
			table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
			until := ""
			if !v.Until.IsZero() {
				until = v.Until.Format(time.RFC3339)
			}
			for _, row := range append([][2]string{
				{"session", v.Session}, {"app", v.App}, {"site", v.Site}, {"state", v.State + ", for " + ago(v.Since)}, {"ends by", until},
				{"customer", v.Customer}, {"subject", v.Subject}, {"seat", v.Seat}, {"node", v.Node},
			}, figures(v)...) {
				if row[1] != "" {
					fmt.Fprintf(table, "%s\t%s\n", row[0], row[1])
				}
			}
			return table.Flush()
		},
	}
}

func sessionEnd(f *sessionFlags) *cobra.Command {
	return &cobra.Command{
		Use:   "end SESSION…",
		Short: "End sessions; the people see that they ended",
		Args:  cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			var failed error
			for _, id := range args {
				if err := f.one(cmd.Context(), http.MethodDelete, id, nil); err != nil {
					failed = errors.Join(failed, fmt.Errorf("end %s: %w", id, err))
					continue
				}
				fmt.Fprintf(cmd.OutOrStdout(), "ended %s\n", id)
			}
			return failed
		},
	}
}

func sessionWatch(f *sessionFlags) *cobra.Command {
	var every time.Duration
	cmd := &cobra.Command{
		Use:   "watch",
		Short: "Print sessions as they come, change and go, until interrupted",
		Long: `Print a line for each session that is there, and then for each that comes, changes its
state or is gone. With --json, each line is an object; its state is "gone" at the end.
The list is read every --every: what comes and goes in between is not seen.`,
		Args: cobra.NoArgs,
	}
	q := filterFlags(cmd)
	cmd.Flags().DurationVar(&every, "every", 2*time.Second, "how often to look")
	cmd.RunE = func(cmd *cobra.Command, _ []string) error {
		if every < 100*time.Millisecond {
			return fmt.Errorf("--every has to be 100ms at least, not %s", every)
		}
		known := map[string]wire.SessionView{}
		var before []string // sites that were missing
		tick := time.NewTicker(every)
		defer tick.Stop()
		for first := true; ; first = false {
			list, missing, err := f.all(cmd.Context(), *q)
			switch {
			case cmd.Context().Err() != nil:
				return nil
			case err != nil && first:
				return err
			case err != nil:
				fmt.Fprintln(cmd.ErrOrStderr(), "nearcast:", err)
			default:
				if !slices.Equal(missing, before) {
					fmt.Fprintln(cmd.ErrOrStderr(), "nearcast:", cmp.Or(missed(missing), errors.New("all sites answer again")))
					before = missing
				}
				if err := printChanges(cmd.OutOrStdout(), known, list, missing, f.asJSON); err != nil {
					return err
				}
			}
			select {
			case <-tick.C:
			case <-cmd.Context().Done():
				return nil
			}
		}
	}
	return cmd
}

// gone is the state of a session that is no longer listed.
const gone = "gone"

// printChanges prints how a list differs from what was known, and brings that up to date. Sessions
// of sites that did not answer stay known.
func printChanges(w io.Writer, known map[string]wire.SessionView, list []wire.SessionView, missing []string, asJSON bool) error {
	now := map[string]bool{}
	var changes []wire.SessionView
	for _, v := range list {
		now[v.Session] = true
		if before, there := known[v.Session]; !there || before.State != v.State {
			changes = append(changes, v)
		}
		known[v.Session] = v
	}
	for id, v := range known {
		if !now[id] && !slices.Contains(missing, v.Site) {
			delete(known, id)
			v.State, v.Since = gone, time.Now().UTC().Truncate(time.Second)
			changes = append(changes, v)
		}
	}
	slices.SortStableFunc(changes, func(a, b wire.SessionView) int { return a.Since.Compare(b.Since) })
	for _, v := range changes {
		line, err := json.Marshal(v)
		if !asJSON {
			line = fmt.Appendf(nil, "%s  %-9s  %s  %s  %s", v.Since.Local().Format(time.DateTime), v.State, v.Session, v.App, cmp.Or(v.Customer, "-"))
		}
		if err == nil {
			_, err = fmt.Fprintf(w, "%s\n", line)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

// all reads a whole list, and which sites are missing in it.
func (f *sessionFlags) all(ctx context.Context, q url.Values) (list []wire.SessionView, missing []string, err error) {
	list, q = []wire.SessionView{}, maps.Clone(q) // "[]" in JSON
	for {
		var part wire.SessionList
		if err := f.ask(ctx, http.MethodGet, wire.SessionsPath+"?"+q.Encode(), &part); err != nil {
			return nil, nil, err
		}
		list = append(list, part.Sessions...)
		for _, site := range part.Missing {
			if !slices.Contains(missing, site) {
				missing = append(missing, site)
			}
		}
		if part.Cursor == "" || part.Cursor == q.Get("cursor") {
			return list, missing, nil
		}
		q.Set("cursor", part.Cursor)
	}
}

func (f *sessionFlags) one(ctx context.Context, method, id string, out any) error {
	if !ticket.ValidSession(id) {
		return fmt.Errorf("%q is not the id of a session; nearcast session list shows them", id)
	}
	return f.ask(ctx, method, wire.SessionsPath+"/"+id, out)
}

// ask sends a request to the router. An answer that says what is wrong is the error.
func (f *sessionFlags) ask(ctx context.Context, method, path string, out any) error {
	if err := checkRouter(f.router); err != nil {
		return err
	}
	if f.apiKey == "" {
		return errors.New("set NEARCAST_API_KEY to an API key (nearcast apikey create) or to the operators' token")
	}
	return askRouter(ctx, method, f.router, path, f.apiKey, out)
}

func checkRouter(router string) error {
	base, err := url.Parse(router)
	if err != nil || base.Host == "" {
		return fmt.Errorf("--router has to be the URL of a router, such as https://play.example, not %q", router)
	}
	return nil
}

// askRouter sends a request to a router, with a token if it is not empty.
func askRouter(ctx context.Context, method, router, path, token string, out any) error {
	if err := checkRouter(router); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, 30*time.Second)
	defer cancel()
	req, err := http.NewRequestWithContext(ctx, method, strings.TrimRight(router, "/")+path, nil)
	if err != nil {
		return fmt.Errorf("--router: %w", err)
	}
	if token != "" {
		req.Header.Set("Authorization", "Bearer "+token)
	}
	res, err := http.DefaultClient.Do(req)
	if err != nil {
		return fmt.Errorf("ask the router: %w", err)
	}
	defer res.Body.Close()
	if res.StatusCode >= 300 {
		var p wire.Problem
		if json.NewDecoder(io.LimitReader(res.Body, wire.MaxBody)).Decode(&p) == nil && p.Title != "" {
			return p
		}
		return fmt.Errorf("the router answered %s", res.Status)
	}
	if out == nil {
		return nil
	}
	if err := json.NewDecoder(io.LimitReader(res.Body, 4<<20)).Decode(out); err != nil {
		return fmt.Errorf("read the router's answer: %w", err)
	}
	return nil
}
