// Package cli is the command "nearcast provision", which the scripts and units of a node
// and operators run.
//
//	nearcast provision secrets ~/nearcast-secrets site-a site-b
package cli

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws"
	"github.com/aws/aws-sdk-go-v2/config"
	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/configure"
	"github.com/nearcast/nearcast/provision/drain"
	"github.com/nearcast/nearcast/provision/secrets"
)

// Files and folders on a node.
const (
	envFile    = "/etc/nearcast/provision.env"
	secretsDir = "/etc/nearcast/secrets"
	scratchDir = "/run"
)

// Command returns the command with its subcommands.
func Command() *cobra.Command {
	cmd := &cobra.Command{Use: "provision", Short: "Set up nodes: secrets, configuration, readiness, health, backups, drain"}
	cmd.AddCommand(secretsCommand(), configureCommand(), readyCommand(), healthCommand(), showCommand(), drainCommand(), uploadCommand())
	return cmd
}

func secretsCommand() *cobra.Command {
	return &cobra.Command{
		Use:   "secrets DIR SITE...",
		Short: "Make certificates, gossip keys and tokens for the nodes of sites",
		Long: `Make in DIR the secrets of the nodes of the named sites, and of the sites that DIR
has already. Copy DIR/<site>/<role>/ to /etc/nearcast/secrets of each node of that
site and role.

Run it again to add a site, and twice a year to renew certificates. It keeps what
exists, but renews certificates with less than a third of their time left. A DIR
that an earlier release made has host-key.pem; it becomes node-key.pem.

With DIR/ca-key.pem and DIR/node-key.pem one can add nodes to the cluster. Keep DIR
as safe as passwords, and out of version control.

In AWS the servers make the secrets themselves, and keep them in Secrets Manager.`,
		Example: "  nearcast provision secrets ~/nearcast-secrets site-a site-b",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			written, err := secrets.Make(secrets.Config{Dir: args[0], Sites: args[1:]})
			if err != nil {
				return err
			}
			for _, path := range written {
				fmt.Fprintln(cmd.OutOrStdout(), filepath.Join(args[0], path))
			}
			return nil
		},
	}
}

func configureCommand() *cobra.Command {
	var root, env, dir, scratch string
	var timeout time.Duration
	cmd := &cobra.Command{
		Use:   "configure",
		Short: "Write this node's configuration of Consul and Nomad",
		Long: `Get this node's secrets, and write the configuration of its agents from them and
from ` + envFile + `. install.sh runs it, the unit
nearcast-configure runs it before the agents start, and nearcast-renew daily. It
prints the files that it changed; the agents read them after a reload.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			log := slog.Default()
			v, err := load(filepath.Join(root, env), log)
			if err != nil {
				return err
			}
			ctx, cancel := context.WithTimeout(cmd.Context(), timeout)
			defer cancel()
			stores, err := stores(ctx, v)
			if err != nil {
				return err
			}
			changed, err := configure.Run(ctx, configure.Config{
				Root: root, Secrets: dir, Scratch: scratch, Stores: stores, Meta: awsapi.NewIMDS(imds.Options{}), Log: log,
			}, v)
			for _, path := range changed {
				fmt.Fprintln(cmd.OutOrStdout(), path)
			}
			return err
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&root, "root", "/", "the root of the file system to write to")
	flags.StringVar(&env, "env", envFile, "the file that describes this node")
	flags.StringVar(&dir, "secrets", secretsDir, "the folder with this node's secrets")
	flags.StringVar(&scratch, "scratch", scratchDir, "a folder in memory, where a server works with the authority's key")
	flags.DurationVar(&timeout, "timeout", 15*time.Minute, "how long to wait until a server has made this node's secrets")
	return cmd
}

func load(path string, log *slog.Logger) (provision.Values, error) {
	v, unknown, err := provision.LoadEnv(path)
	if len(unknown) > 0 {
		log.Warn("unknown names in the environment file; check their spelling", "file", path, "names", strings.Join(unknown, " "))
	}
	return v.WithDefaults(), err
}

// stores opens Secrets Manager with the role of the instance, if the node uses it.
func stores(ctx context.Context, v provision.Values) (func(string) configure.Store, error) {
	if v.Cloud.SecretNodes+v.Cloud.SecretEdge+v.Cloud.SecretServers == "" {
		return func(string) configure.Store { return nil }, nil
	}
	cfg, err := awsConfig(ctx, v.Site)
	if err != nil {
		return nil, err
	}
	return func(region string) configure.Store { return awsapi.New(cfg, region) }, nil
}

// awsConfig is what the environment and the role of the instance say.
func awsConfig(ctx context.Context, region string) (aws.Config, error) {
	cfg, err := config.LoadDefaultConfig(ctx, config.WithRegion(region))
	if err != nil {
		return cfg, fmt.Errorf("load the configuration of the AWS SDK: %w", err)
	}
	return cfg, nil
}

// services are the commands that run until they are told to end. A signal may come while one begins.
var services sync.Map

// Service says that a command runs until a signal ends it: that is its end in order, and no
// interruption.
func Service(cmd *cobra.Command) { services.Store(cmd, true) }

// IsService reports whether Service was called for a command.
func IsService(cmd *cobra.Command) bool {
	_, is := services.Load(cmd)
	return is
}

func drainCommand() *cobra.Command {
	var env, dir, metadata string
	deadlines := map[provision.Role]time.Duration{
		// The group's hook waits 5 minutes for these two. People move to another brain.
		provision.Server: 2 * time.Minute, provision.Edge: 2 * time.Minute,
		provision.Stream: 110 * time.Minute,
	}
	var deadline time.Duration
	var now bool
	cmd := &cobra.Command{
		Use:   "drain",
		Short: "Wait until the cloud ends this node, and drain it first",
		Long: `Read every five seconds from the instance metadata service whether the cloud is about
to interrupt this node (spot) or to terminate it (its auto scaling group). If so,
drain the node in Nomad, leave Consul, and let the group go on. Sessions may continue
until the deadline.

If the cloud advises to leave a stream node (a rebalance recommendation), nothing is drained:
people get the seats of other nodes first.

With --now, drain the node at once and keep it. The command returns when nothing runs
on the node any more, or after the deadline. To give the node work again, run
nomad node eligibility -enable.`,
		Example: "  nearcast provision drain --now --deadline 2h",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if !now {
				Service(cmd)
			}
			ctx, log := cmd.Context(), slog.Default()
			v, s, err := nodeSecrets(env, dir)
			if err != nil {
				return err
			}
			consul, nomad := agentsOf(v, s, dir)
			registry, err := fleet.Open(fleet.Config{Address: consul.Address, Token: s.ConsulAgent, Log: log})
			if err != nil {
				return err
			}
			defer registry.Close()
			if deadline == 0 {
				deadline = deadlines[v.Role]
			}
			c := drain.Config{
				Meta: awsapi.NewIMDS(imds.Options{Endpoint: metadata}), Node: nomad, Deadline: deadline, Log: log,
				Leave: consul.Leave,
				GivenUp: func() bool {
					_, err := os.Stat(givenUpFile)
					_, err2 := os.Stat(deadFile)
					return err == nil || err2 == nil
				},
			}
			if v.Role == provision.Stream {
				if c.Identity, err = identity.New(); err != nil {
					return err
				}
				// Nothing listens at the address: the record is for the key alone.
				registration, err := registry.RegisterInstance(ctx, wire.DrainService, wire.Instance{
					ID: v.Node, Site: v.Site, Address: v.HTTP + ":1", Key: c.Identity.Key()})
				if err != nil {
					return err
				}
				defer registration.Close()
				c.Sessions = drain.Sessions(v.Paths.RunDir)
				c.Seats, c.Leaving = drain.NodeSeats(v.Paths.RunDir), drain.TellLeaving(v.Paths.RunDir)
			}
			if now {
				c.Now, c.Leave = true, nil
				return drain.Run(ctx, c)
			}
			if v.Cloud.Hook != "" {
				cfg, err := awsConfig(ctx, v.Site)
				if err != nil {
					return err
				}
				c.Group = awsapi.New(cfg, v.Site)
				c.Lifecycle = awsapi.Lifecycle{Group: v.Cloud.Group, Hook: v.Cloud.Hook}
			}
			return drain.Run(ctx, c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&env, "env", envFile, "the file that describes this node")
	flags.StringVar(&dir, "secrets", secretsDir, "the folder with this node's secrets")
	flags.StringVar(&metadata, "imds", os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "URL of the metadata service (default: the cloud's)")
	flags.BoolVar(&now, "now", false, "drain this node now, and keep it")
	flags.DurationVar(&deadline, "deadline", 0, "how long sessions may continue when the group or the operator ends the work of this node (default 110m; 2m for servers and edge nodes)")
	return cmd
}
