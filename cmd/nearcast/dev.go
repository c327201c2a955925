package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev"
)

// devCommand is a whole site on this machine.
func devCommand() *cobra.Command {
	cmd := &cobra.Command{
		Use:   "dev",
		Short: "Run a whole site on this machine",
		Long: "Run a whole site on this machine: Consul, Nomad with the stream driver, an S3 server,\n" +
			"a router and a brain, with sample apps, all on 127.0.0.1 and in one folder.",
	}
	dir := cmd.PersistentFlags().String("dir", ".nearcast", "folder that holds all the cluster writes")
	cmd.AddCommand(devUp(dir), devDown(dir), devStatus(dir), devLogs(dir), devEnv(dir), devPackages(), devTools())
	return cmd
}

func devUp(dir *string) *cobra.Command {
	var (
		port   int
		apps   []string
		noApps bool
		bin    string
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and run it until Ctrl-C",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if bin == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				bin = filepath.Dir(self)
			}
			if noApps {
				apps = []string{}
			}
			out := cmd.OutOrStdout()
			if os.Geteuid() != 0 {
				fmt.Fprintln(out, "Not root: apps run as you, without namespaces of their own, and see your files. Run apps that you trust.")
			}
			ctx := cmd.Context()
			cluster, err := dev.Start(ctx, dev.Options{Dir: *dir, Bin: bin, Apps: apps, Ports: dev.PortsFrom(port), Log: out})
			if errors.Is(err, dev.ErrAlreadyRunning) {
				state, err := dev.ReadState(*dir)
				if err != nil {
					return fmt.Errorf("a cluster is starting or stopping in %s; try again in a moment (%w)", *dir, err)
				}
				fmt.Fprintf(out, "Already running: open %s\n", state.URL)
				return nil
			}
			if err != nil {
				return err
			}
			if !noApps {
				warm, cancel := context.WithTimeout(ctx, 2*time.Minute)
				err = cluster.WaitIdle(warm, "")
				cancel()
			}
			if ctx.Err() == nil {
				if err != nil {
					fmt.Fprintln(out, "WARN", err)
				}
				welcome(out, cluster, *dir)
				<-ctx.Done()
			}
			fmt.Fprintln(out, "Stopping.")
			return cluster.Close()
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&port, "port", dev.DefaultPort, "port of the router; the ten after it are taken too")
	flags.StringSliceVar(&apps, "apps", nil, "sample apps to register, of those in jobs/ (default all)")
	flags.BoolVar(&noApps, "no-apps", false, "register no sample apps")
	flags.StringVar(&bin, "bin", "", "folder with the binaries (default: where this one is)")
	return cmd
}

func welcome(w io.Writer, c *dev.Cluster, dir string) {
	fmt.Fprintf(w, `
  Open      %s
  Consul    http://%s/ui     Nomad  http://%s/ui
  Publish   eval "$(bin/nearcast dev env)" && nomad job run my.nomad.hcl
  Logs      %s/log, or: bin/nearcast dev logs router
  Data      %s
  Stop      Ctrl-C, or: make down

`, c.URL, c.ConsulAddress, c.NomadAddress, c.Dir, c.Dir)
}

func devDown(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "down",
		Short: "Stop the cluster, or end what a killed one left",
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
				return fmt.Errorf("%w in %s, but one was killed there: nearcast dev down ends what it left", dev.ErrNotRunning, *dir)
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "%s\n\n", state.URL)
			table := tabwriter.NewWriter(out, 0, 0, 3, ' ', 0)
			fmt.Fprintln(table, "PROCESS\tSTATE\tFOR\tPID\tRESTARTS\tLAST DEATH")
			for _, p := range state.Processes {
				fmt.Fprintf(table, "%s\t%s\t%s\t%d\t%d\t%s\n", p.Name, p.State,
					time.Since(p.Since).Round(time.Second), p.PID, p.Restarts, p.LastDeath)
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), 3*time.Second)
			defer cancel()
			apps, err := state.AppList(ctx)
			if err != nil {
				table.Flush()
				return fmt.Errorf("ask the router for apps: %w", err)
			}
			fmt.Fprintln(table, "\nAPP\tIDLE\tBUSY\tSTARTING\tMAX\t")
			for _, a := range apps.Apps {
				room := a.Sites[dev.Site]
				fmt.Fprintf(table, "%s\t%d\t%d\t%d\t%d\t%s\n", a.ID, room.Idle, room.Busy, room.Starting, room.Max, room.Failing)
			}
			return table.Flush()
		},
	}
}

func devLogs(dir *string) *cobra.Command {
	var follow bool
	cmd := &cobra.Command{
		Use:   "logs NAME",
		Short: "Show a process's log: consul, nomad-server, nomad (the client), s3, router or brain",
		Args:  cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			file := filepath.Join(*dir, "log", filepath.Base(args[0])+".log")
			if _, err := os.Stat(file); err != nil {
				logs, _ := filepath.Glob(filepath.Join(*dir, "log", "*.log"))
				for i, l := range logs {
					logs[i] = strings.TrimSuffix(filepath.Base(l), ".log")
				}
				return fmt.Errorf("no log of %q in %s; there are: %s", args[0], *dir, strings.Join(logs, ", "))
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
	cmd.Flags().BoolVarP(&follow, "follow", "f", false, "go on as the log grows")
	return cmd
}

func devEnv(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "env",
		Short: "Print shell settings that point nomad and consul at the cluster",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			state, err := dev.ReadState(*dir)
			if err != nil {
				return err
			}
			out := cmd.OutOrStdout()
			fmt.Fprintf(out, "export NOMAD_ADDR=http://127.0.0.1:%d CONSUL_HTTP_ADDR=http://127.0.0.1:%d\n", state.Ports.Nomad, state.Ports.Consul)
			if path, ok := state.Tools["nomad"]; ok {
				fmt.Fprintf(out, "export PATH=\"$PATH\":'%s'\n", strings.ReplaceAll(filepath.Dir(path), "'", `'\''`))
			}
			return nil
		},
	}
}

func devPackages() *cobra.Command {
	var tests, install bool
	cmd := &cobra.Command{
		Use:   "packages",
		Short: "List or install the Debian packages that the cluster needs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want := dev.RunPackages
			if tests {
				want = append(want[:len(want):len(want)], dev.TestPackages...)
			}
			if install {
				return dev.InstallPackages(cmd.Context(), want, cmd.OutOrStdout())
			}
			for _, p := range want {
				fmt.Fprintf(cmd.OutOrStdout(), "%-34s %s\n", p.Name, p.Reason)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "with those that only tests need")
	cmd.Flags().BoolVar(&install, "install", false, "install what is missing")
	return cmd
}

func devTools() *cobra.Command {
	return &cobra.Command{
		Use:   "tools",
		Short: "Find Consul, Nomad and the S3 server, building those that this machine lacks",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			tools, err := dev.Tools(cmd.Context(), "", cmd.ErrOrStderr())
			if err != nil {
				return err
			}
			for _, name := range slices.Sorted(maps.Keys(tools)) {
				fmt.Fprintf(cmd.OutOrStdout(), "%-10s %s\n", name, tools[name])
			}
			return nil
		},
	}
}
