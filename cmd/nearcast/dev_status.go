package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/internal/wire"
)

func devDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster, or end what a killed cluster left",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			err := dev.Down(cmd.Context(), *dir, cmd.OutOrStdout())
			if errors.Is(err, dev.ErrNotRunning) {
				fmt.Fprintln(cmd.OutOrStdout(), "Nothing is running.")
				return nil
			}
			return err
		},
	}
}

func devStatus(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "status",
		Short: "Show the cluster's processes and apps",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := dev.ReadState(*dir)
			if err != nil {
				return err
			}
			if !state.Running() {
				return fmt.Errorf("%w in %s; one was killed there: end what it left with nearcast dev down", dev.ErrNotRunning, *dir)
			}
			out := cmd.OutOrStdout()
			if len(state.Sites) > 0 {
				return planetStatus(cmd.Context(), out, *dir, state)
			}
			fmt.Fprintf(out, "%s\n\n", state.URL)
			return clusterStatus(cmd.Context(), out, state)
		},
	}
}

// clusterStatus shows the processes and apps of a site.
func clusterStatus(ctx context.Context, out io.Writer, state dev.State) error {
	table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "PROCESS\tSTATE\tFOR\tPID\tRESTARTS\tLAST EXIT")
	for _, p := range state.Processes {
		fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\n", p.Name, p.State,
			time.Since(p.Since).Round(time.Second), p.PID, p.Restarts, p.LastExit)
	}
	ctx, cancel := context.WithTimeout(ctx, 3*time.Second)
	defer cancel()
	appList := func() (wire.AppsResponse, error) { return state.AppList(ctx, nil) }
	if state.Namespace != "" {
		appList = func() (wire.AppsResponse, error) { return planet.AppList(ctx, state) }
	}
	apps, err := appList()
	if err != nil {
		table.Flush()
		return fmt.Errorf("ask the router for apps: %w", err)
	}
	fmt.Fprintln(table, "\nAPP\tIDLE\tBUSY\tSTARTING\tMAX\t")
	for _, a := range apps.Apps {
		c := a.Sites[state.Site]
		fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\n", a.ID, c.Idle, c.Busy, c.Starting, c.Max, c.Failing)
	}
	return table.Flush()
}

// planetStatus shows the round trips of a planet, and the status of each site.
func planetStatus(ctx context.Context, out io.Writer, dir string, state dev.State) error {
	fmt.Fprintf(out, "%s  (open it in the person's namespace)\n\n", state.URL)
	table, err := planet.Send(ctx, dir, "", nil)
	if err != nil {
		return err
	}
	fmt.Fprint(out, table)
	for _, site := range state.Sites {
		fmt.Fprintf(out, "\n%s\n", site)
		state, err := dev.ReadState(dev.SiteDir(dir, site))
		if err == nil {
			err = clusterStatus(ctx, out, state)
		}
		if err != nil {
			fmt.Fprintln(out, err)
		}
	}
	return nil
}

func devLogs(dir *string) *cobra.Command {
	var follow bool
	var site string
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show a process's log: consul, nomad-server, nomad (the client), s3, router or brain",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			dir, err := ofSite(*dir, site)
			if err != nil {
				return err
			}
			file := filepath.Join(dir, "log", filepath.Base(args[0])+".log")
			if _, err := os.Stat(file); err != nil {
				logs, _ := filepath.Glob(filepath.Join(dir, "log", "*.log"))
				for i, l := range logs {
					logs[i] = strings.TrimSuffix(filepath.Base(l), ".log")
				}
				return fmt.Errorf("%q has no log in %s; there are: %s", args[0], dir, strings.Join(logs, ", "))
			}
			argv := []string{"-n", "200", file}
			if follow {
				argv = append(argv, "-F")
			}
			tail := exec.CommandContext(cmd.Context(), "tail", argv...)
			tail.Stdout, tail.Stderr = cmd.OutOrStdout(), cmd.ErrOrStderr()
			return tail.Run()
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "site of a planet (default: its first)")
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "follow the log as it grows")
	return cmd
}

// ofSite is the folder of a site: dir itself, or in a planet one below it.
func ofSite(dir, site string) (string, error) {
	state, err := dev.ReadState(dir)
	switch {
	case err != nil || len(state.Sites) == 0:
		return dir, nil // the logs of a stopped cluster can be read too
	case site == "":
		site = state.Sites[0]
	case !slices.Contains(state.Sites, site):
		return "", fmt.Errorf("no site %q; there are: %s", site, strings.Join(state.Sites, ", "))
	}
	return dev.SiteDir(dir, site), nil
}

func devEnv(dir *string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:   "env",
		Short: "Print shell settings that point nomad and consul at the cluster",
		Long: `Print shell settings that point nomad and consul at the cluster. The servers of a
planet's site are reached only from its namespace:

  nearcast dev exec --site eu-west-1 -- bash -c 'eval "$(nearcast dev env --site eu-west-1)"; nomad status'`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			dir, err := ofSite(*dir, site)
			if err != nil {
				return err
			}
			state, err := dev.ReadState(dir)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "export NOMAD_ADDR=http://%s:%d CONSUL_HTTP_ADDR=http://%s:%d\n", state.Address, state.Ports.Nomad, state.Address, state.Ports.Consul)
			if path, ok := state.Tools["nomad"]; ok {
				fmt.Fprintf(out, "export PATH=\"$PATH\":'%s'\n", strings.ReplaceAll(filepath.Dir(path), "'", `'\''`))
			}
			return nil
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "site of a planet (default: its first)")
	return cmd
}
