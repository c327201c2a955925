package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev"
)

// running is what "dev up" runs until Ctrl-C: a site or a planet.
type running interface {
	WaitIdle(ctx context.Context, app string) error
	Close() error
}

func devUp(dir *string) *cobra.Command {
	var (
		options dev.PlanetOptions
		port    int
		noApps  bool
	)
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Start the cluster and run it until Ctrl-C",
		Example: `  nearcast dev up --apps viewer
  nearcast dev up --sites us-east-1,eu-west-1,ap-northeast-1 --at tokyo --var warm=2`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			options.Dir, options.Ports, options.Log = *dir, dev.PortsFrom(port), cmd.OutOrStdout()
			if options.Bin == "" {
				self, err := os.Executable()
				if err != nil {
					return err
				}
				options.Bin = filepath.Dir(self)
			}
			if noApps {
				options.Apps = []string{}
			}
			return up(cmd.Context(), cmd.OutOrStdout(), options)
		},
	}
	flags := cmd.Flags()
	flags.IntVar(&port, "port", dev.DefaultPort, "port of the router; the ten after it are taken too")
	flags.StringSliceVar(&options.Apps, "apps", nil, "sample apps to register, of those in jobs/ (default all)")
	flags.BoolVar(&noApps, "no-apps", false, "register no sample apps")
	flags.StringToStringVar(&options.Vars, "var", nil, "value for a variable of the sample apps' jobs, as warm=2; may be repeated")
	flags.StringVar(&options.Bin, "bin", "", "folder with the binaries (default: where this one is)")
	flags.StringSliceVar(&options.Sites, "sites", nil, "run a planet of these sites, of: "+strings.Join(dev.Regions(), ", "))
	flags.StringVar(&options.Place, "at", dev.DefaultPlace, "where the person sits at first, on a planet")
	flags.DurationVar(&options.Jitter, "jitter", 0, "mean jitter of the person's last mile, on a planet")
	flags.Float64Var(&options.Loss, "loss", 0, "share of packets that the person's last mile loses, on a planet: 0.01 is 1 %")
	return cmd
}

// up starts a cluster or a planet and runs it until ctx ends.
func up(ctx context.Context, out io.Writer, o dev.PlanetOptions) error {
	if os.Geteuid() != 0 && len(o.Sites) == 0 {
		fmt.Fprintln(out, "Not root: apps run as you, without namespaces of their own, and see your files. Run apps that you trust.")
	}
	cluster, welcome, err := start(ctx, o)
	if errors.Is(err, dev.ErrAlreadyRunning) {
		state, err := dev.ReadState(o.Dir)
		if err != nil {
			return fmt.Errorf("a cluster is starting or stopping in %s; try again in a moment (%w)", o.Dir, err)
		}
		fmt.Fprintf(out, "Already running: open %s\n", state.URL)
		return nil
	}
	if err != nil {
		return err
	}
	if o.Apps == nil || len(o.Apps) > 0 {
		warm, cancel := context.WithTimeout(ctx, 2*time.Minute)
		err = cluster.WaitIdle(warm, "")
		cancel()
	}
	if ctx.Err() == nil {
		if err != nil {
			fmt.Fprintln(out, "WARN", err)
		}
		welcome(out)
		<-ctx.Done()
	}
	fmt.Fprintln(out, "Stopping.")
	return cluster.Close()
}

func start(ctx context.Context, o dev.PlanetOptions) (running, func(io.Writer), error) {
	if len(o.Sites) == 0 {
		c, err := dev.Start(ctx, o.Options)
		return c, func(w io.Writer) { welcome(w, c) }, err
	}
	p, err := dev.StartPlanet(ctx, o)
	return p, func(w io.Writer) { welcomePlanet(w, p) }, err
}

func welcome(w io.Writer, c *dev.Cluster) {
	fmt.Fprintf(w, `
  Open      %s
  Consul    http://%s/ui     Nomad  http://%s/ui
  Publish   eval "$(bin/nearcast dev env)" && nomad job run my.nomad.hcl
  Logs      %s/log, or: bin/nearcast dev logs router
  Data      %s
  Stop      Ctrl-C, or: make down

`, c.URL, c.ConsulAddress, c.NomadAddress, c.Dir, c.Dir)
}

func welcomePlanet(w io.Writer, p *dev.Planet) {
	first := p.Names()[0]
	fmt.Fprintf(w, `
%s
  Open      %s  of the nearest site, in the person's namespace:
            bin/nearcast dev exec -- chromium --no-sandbox --user-data-dir=/tmp/person \
              --unsafely-treat-insecure-origin-as-secure=%s %s
  Move her  bin/nearcast dev locate tokyo
  Cut       bin/nearcast dev cut %s        from everybody, or: dev cut %s person
  Heal      bin/nearcast dev heal
  Inside    bin/nearcast dev exec --site %s -- bash
  Logs      bin/nearcast dev logs router --site %s
  Data      %s
  Stop      Ctrl-C, or: make down

`, p.Table(), p.URL(), strings.Join(p.Origins(), ","), p.URL(), first, first, first, first, p.Dir)
}
