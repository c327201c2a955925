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
	"github.com/nearcast/nearcast/dev/planet"
	"github.com/nearcast/nearcast/provision/cli"
)

// running is what "dev up" runs until Ctrl-C: a site or a planet.
type running interface {
	WaitIdle(ctx context.Context, app string) error
	Close() error
}

func devUp(dir *string) *cobra.Command {
	var (
		options planet.Options
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
	cli.Service(cmd)
	flags := cmd.Flags()
	flags.IntVar(&port, "port", dev.DefaultPort, "port of the router; the next thirteen ports are used too")
	flags.StringSliceVar(&options.Apps, "apps", nil, "sample apps to register, by their names in jobs/ (default: all)")
	flags.BoolVar(&noApps, "no-apps", false, "register no sample apps")
	flags.StringToStringVar(&options.Vars, "var", nil, "value for a variable of the sample apps' jobs, as warm=2; may be repeated")
	flags.StringArrayVar(&options.Router, "router-option", nil, "option of nearcast router, as --oidc-issuer=http://localhost:8080 for apps with a login; may be repeated")
	flags.StringVar(&options.Bin, "bin", "", "folder with the binaries (default: where this one is)")
	flags.StringSliceVar(&options.Sites, "sites", nil, "run a planet with these sites; there are: "+strings.Join(planet.Regions(), ", "))
	flags.StringVar(&options.Place, "at", planet.DefaultPlace, "on a planet: where the person sits at first")
	flags.DurationVar(&options.Jitter, "jitter", 0, "on a planet: mean jitter of the person's last mile")
	flags.Float64Var(&options.Loss, "loss", 0, "on a planet: share of packets that the person's last mile loses; 0.01 is 1 %")
	return cmd
}

// up starts a cluster or a planet, and runs it until ctx ends.
func up(ctx context.Context, out io.Writer, o planet.Options) error {
	if os.Geteuid() != 0 && len(o.Sites) == 0 {
		fmt.Fprintln(out, "You are not root: apps run as you, without namespaces of their own, and can read your files. Run only apps that you trust.")
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

func start(ctx context.Context, o planet.Options) (running, func(io.Writer), error) {
	if len(o.Sites) == 0 {
		o.Console = true
		c, err := dev.Start(ctx, o.Options)
		return c, func(w io.Writer) { welcome(w, c) }, err
	}
	p, err := planet.Start(ctx, o)
	return p, func(w io.Writer) { welcomePlanet(w, p) }, err
}

func welcome(w io.Writer, c *dev.Cluster) {
	fmt.Fprintf(w, `
  Open      %s
  Console   %s  (log in with the token in %s)
  Consul    http://%s/ui     Nomad  http://%s/ui
  Publish   eval "$(bin/nearcast dev env)" && nomad job run my.nomad.hcl
  Sessions  NEARCAST_ROUTER=%s NEARCAST_API_KEY=$(cat %s) bin/nearcast session list
  Logs      %s/log, or: bin/nearcast dev logs router
  Data      %s
  Stop      Ctrl-C, or: make down

`, c.URL, c.ConsoleURL(), c.OperatorToken(), c.ConsulAddress, c.NomadAddress, c.URL, c.OperatorToken(), c.Dir, c.Dir)
}

func welcomePlanet(w io.Writer, p *planet.Planet) {
	first := p.Names()[0]
	fmt.Fprintf(w, `
%s
  Open      %s  (the nearest site) in the person's namespace:
            bin/nearcast dev exec -- chromium --no-sandbox --user-data-dir=/tmp/person \
              --unsafely-treat-insecure-origin-as-secure=%s %s
  Move      bin/nearcast dev locate tokyo        the person
  Cut off   bin/nearcast dev cut %s        from all others, or: dev cut %s person
  Undo      bin/nearcast dev heal
  Shell     bin/nearcast dev exec --site %s -- bash
  Logs      bin/nearcast dev logs router --site %s
  Data      %s
  Stop      Ctrl-C, or: make down

`, p.Table(), p.URL(), strings.Join(p.Origins(), ","), p.URL(), first, first, first, first, p.Dir)
}
