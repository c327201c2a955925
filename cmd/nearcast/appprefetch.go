package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"slices"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/nomad"
	"github.com/nearcast/nearcast/provision/cli"
)

func appPrefetch(f *appFlags) *cobra.Command {
	var wait, every time.Duration
	var follow bool
	cmd := &cobra.Command{
		Use:   "prefetch APP | --follow",
		Short: "Have the nodes fetch an app's content before a seat asks",
		Long: `Fetch the content of an app's present version into the caches of all nodes on which its
seats may run, so that the first seat of each starts without a fetch. Run it after nomad
job run.

It registers the job APP-prefetch in the namespace apps, of type sysbatch, with the node pool,
data centres and constraints of the app's. On a node one such job fetches at a time, with four requests in
flight, and only while no seat of the node fetches. It may have half of the node's cache,
beside what running seats use, and its files make room for seats that need it.

With --follow it runs until it is stopped, and does so for each version of each app that is
registered, on a quarter of the nodes at a time, by the jobs APP-prefetch-1 to -4 of the
namespace fetches. Where all have ended, the variable nearcast/prefetch there says so. Nodes
that come later fetch all apps, by jobs APP-prefetch-NODE-INDEX; the variable
nearcast/prefetch-nodes there has the nodes that were seen. Apps
whose job has the meta prefetch = "false" are left out. nearcast cloud up runs it as the job
prefetch of jobs/platform; acl/nomad/prefetch.hcl has the rights that it needs.

Exit status: 0 where all nodes have the content, else 1. With --wait 0 it does not wait.`,
		Example: `  nomad job run viewer.nomad.hcl && nearcast app prefetch viewer`,
		Args: func(cmd *cobra.Command, args []string) error {
			if follow {
				return cobra.NoArgs(cmd, args)
			}
			return cobra.ExactArgs(1)(cmd, args)
		},
		RunE: func(cmd *cobra.Command, args []string) error {
			if follow && (every <= 0 || wait <= 0) {
				return errors.New("with --follow, --every and --wait must be more than 0")
			}
			if follow {
				cli.Service(cmd)
			}
			checks, err := f.open()
			if err != nil {
				return err
			}
			defer checks.Close()
			if follow {
				return followApps(cmd.Context(), slog.Default(), checks, every, wait)
			}
			p, err := checks.Prefetch(cmd.Context(), args[0])
			if err != nil {
				return err
			}
			fmt.Fprintf(cmd.ErrOrStderr(), "job %s fetches the content of version %d of %s\n", p.Job, p.Version, args[0])
			if wait == 0 {
				return nil
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), wait)
			defer cancel()
			ask := func(ctx context.Context) ([]nomad.NodeFetch, int, bool, error) { return checks.Fetches(ctx, p) }
			nodes, err := awaitFetches(ctx, cmd.ErrOrStderr(), ask, askEvery, p.Job)
			if f.asJSON {
				return errors.Join(err, printJSON(cmd.OutOrStdout(), nodes))
			}
			return err
		},
	}
	cmd.Flags().DurationVar(&wait, "wait", 35*time.Minute, "how long to wait for the nodes; 0 does not wait. With --follow: how long a quarter of them holds up the next")
	cmd.Flags().BoolVar(&follow, "follow", false, "fetch each version that is registered, until stopped")
	cmd.Flags().DurationVar(&every, "every", 10*time.Second, "with --follow: how often to look for new versions")
	return cmd
}

var errNoNode = errors.New("no node is ready on which the app's seats may run; nodes that come later were not asked")

// askEvery is how often Nomad is asked what became of the fetches.
const askEvery = time.Second

// fetches asks what became of the fetches (nomad.Checks.Fetches).
type fetches func(ctx context.Context) (nodes []nomad.NodeFetch, noRoom int, planned bool, err error)

// awaitFetches waits until all nodes have ended their fetches, and tells of each that has.
// Where Nomad cannot be asked, it asks again: a server may be starting.
func awaitFetches(ctx context.Context, out io.Writer, ask fetches, every time.Duration, job string) ([]nomad.NodeFetch, error) {
	told := map[string]bool{}
	nodes := []nomad.NodeFetch{} // what was seen last
	var fault error
	for {
		now, noRoom, planned, err := ask(ctx)
		switch {
		case errors.Is(err, nomad.ErrNotPlanned):
			return nodes, err
		case err == nil:
			nodes, fault = append(nodes[:0], now...), nil
		case ctx.Err() == nil:
			if fault == nil || fault.Error() != err.Error() {
				fmt.Fprintf(out, "%v; asking again\n", err)
			}
			fault = err
		}
		left, failed := 0, 0
		for _, n := range nodes {
			if !n.Done() {
				left++
				continue
			}
			if n.Status != "complete" {
				failed++
			}
			if !told[n.Node] {
				told[n.Node] = true
				fmt.Fprintf(out, "%s: %s: %s\n", n.Node, n.Status, n.Says)
			}
		}
		if planned && left == 0 && err == nil {
			switch {
			case noRoom > 0:
				return nodes, fmt.Errorf("%d nodes have no room for the fetch (50 MHz and 256 MB of memory): it starts there when seats end", noRoom)
			case failed > 0:
				return nodes, fmt.Errorf("%d of %d nodes could not fetch the content: nomad job status %s", failed, len(nodes), job)
			case len(nodes) == 0:
				return nodes, errNoNode
			}
			return nodes, nil
		}
		select {
		case <-ctx.Done():
			return nodes, notFetched(ctx.Err(), nodes, fault, job)
		case <-time.After(every):
		}
	}
}

// notFetched says what is known when the wait ends.
func notFetched(ended error, nodes []nomad.NodeFetch, fault error, job string) error {
	switch {
	case fault != nil:
		return fmt.Errorf("%w: Nomad could not be asked: %w", ended, fault)
	case len(nodes) == 0:
		return fmt.Errorf("no node has begun: nomad job status %s: %w", job, ended)
	}
	waiting := slices.DeleteFunc(slices.Clone(nodes), nomad.NodeFetch.Done)
	return fmt.Errorf("%d of %d nodes still fetch: nomad job status %s: %w", len(waiting), len(nodes), job, ended)
}
