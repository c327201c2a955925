package cli

import (
	"bytes"
	"context"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/ready"
)

func readyCommand() *cobra.Command {
	var env, dir, metadata string
	var within time.Duration
	var once bool
	cmd := &cobra.Command{
		Use:   "ready",
		Short: "Wait until this node can do its work, and tell its auto scaling group",
		Long: `Wait until this node can do its work:

  configuration  ` + envFile + ` is right, and the node's secrets are there
  consul         the agent has joined the site, and the catalog has the node; on a
                 server, the other servers count it as a healthy voter
  nomad          the node is ready, and its task drivers are healthy; the same for
                 servers

Then tell the launch hook of the node's auto scaling group, if it has one. The group
counts the node from then on. A node that is not ready in time is given up: the
command writes why to NEARCAST_REPORTS_URL, and the group launches another one.

With --once, look once, print a line for each part, and fail unless all are ready.`,
		Example: "  nearcast provision ready --once",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			ctx, log := cmd.Context(), slog.Default()
			look := func(ctx context.Context) []ready.Result { return lookAt(ctx, env, dir) }
			if once {
				results := look(ctx)
				for _, r := range results {
					word := "ready"
					if r.Err != nil {
						word = "not ready: " + r.Err.Error()
					}
					fmt.Fprintf(cmd.OutOrStdout(), "%-14s %s\n", r.Part, word)
				}
				if ready.Missing(results) != "" {
					return fmt.Errorf("this node is not ready")
				}
				return nil
			}
			v, err := load(env, log)
			if err != nil {
				return err
			}
			c := ready.Config{Look: look, Within: within, Log: log}
			if v.Cloud.ReadyHook != "" {
				cfg, err := awsConfig(ctx, v.Site)
				if err != nil {
					return err
				}
				c.Group, c.Meta = awsapi.New(cfg, v.Site), awsapi.NewIMDS(imds.Options{Endpoint: metadata})
				c.Lifecycle = awsapi.Lifecycle{Group: v.Cloud.Group, Hook: v.Cloud.ReadyHook}
			}
			c.Mark = func() error { return os.WriteFile(givenUpFile, nil, 0o600) }
			c.Keep = keeper(v)
			return ready.Run(ctx, c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&env, "env", envFile, "the file that describes this node")
	flags.StringVar(&dir, "secrets", secretsDir, "the folder with this node's secrets")
	flags.StringVar(&metadata, "imds", os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "URL of the metadata service (default: the cloud's)")
	flags.DurationVar(&within, "within", 40*time.Minute, "how long a node may take before it is given up")
	flags.BoolVar(&once, "once", false, "look once, and print what is ready")
	return cmd
}

// givenUpFile says that this node is given up; it is in memory, and gone at the next boot.
const givenUpFile = "/run/nearcast-given-up"

// lookWithin bounds one look: an agent that hangs is not ready.
const lookWithin = 30 * time.Second

// lookAt looks at this node once. A part that another one needs is looked at only if that
// one is ready: each look at Nomad is a login.
func lookAt(ctx context.Context, env, dir string) []ready.Result {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	v, s, err := nodeSecrets(env, dir)
	results := []ready.Result{{Part: "configuration", Err: err}}
	if err != nil {
		return results
	}
	consul, nomad := agentsOf(v, s, dir)
	if err = consul.Joined(ctx, v.Node); err == nil && v.Role == provision.Server {
		err = consul.Voter(ctx, s.ConsulManagement, v.Node)
	}
	results = append(results, ready.Result{Part: "consul", Err: err})
	if err != nil {
		return results
	}
	if err = nomad.Ready(ctx, v.Tuning.Drivers...); err == nil && v.Role == provision.Server {
		err = nomad.Voter(ctx, s.NomadManagement, v.Node+"."+v.Site)
	}
	return append(results, ready.Result{Part: "nomad", Err: err})
}

// nodeSecrets reads the node's description and its secrets.
func nodeSecrets(env, dir string) (provision.Values, provision.Secrets, error) {
	v, err := load(env, slog.New(slog.DiscardHandler))
	if err != nil {
		return v, provision.Secrets{}, err
	}
	if err := v.Validate(); err != nil {
		return v, provision.Secrets{}, err
	}
	s, err := provision.LoadSecrets(dir, v.Role)
	return v, s, err
}

// agentsOf returns the agents of this node.
func agentsOf(v provision.Values, s provision.Secrets, dir string) (agents.Consul, agents.Nomad) {
	return agents.Consul{Address: fmt.Sprintf("%s:%d", v.HTTP, v.Ports.ConsulHTTP), Token: s.ConsulAgent},
		agents.Nomad{
			Address: fmt.Sprintf("http://%s:%d", v.HTTP, v.Ports.NomadHTTP),
			IDFile:  filepath.Join(v.Paths.NomadData, "client", "client-id"), Statement: filepath.Join(dir, provision.NomadNodeFile),
		}
}

// keeper writes reports of this node; nil where it is not told where to.
func keeper(v provision.Values) func(ctx context.Context, instance, reason string) error {
	if v.Cloud.Reports == "" {
		return nil
	}
	return func(ctx context.Context, instance, reason string) error { return keep(ctx, v, instance, reason) }
}

// keep writes a report of this node: the reason, and what its units said last.
func keep(ctx context.Context, v provision.Values, instance, reason string) error {
	ctx, cancel := context.WithTimeout(ctx, time.Minute)
	defer cancel()
	text := bytes.NewBufferString(fmt.Sprintf("%s  %s of %s in %s\n\n%s\n",
		time.Now().UTC().Format(time.RFC3339), instance, v.Cloud.Group, v.Site, reason))
	journal := exec.CommandContext(ctx, "journalctl", "--boot", "--no-pager", "--quiet", "--lines=400", "--output=short-iso",
		"--unit=consul", "--unit=nomad", "--unit=nearcast-*", "--unit=cloud-final")
	journal.Stdout, journal.Stderr = text, text
	if err := journal.Run(); err != nil {
		fmt.Fprintf(text, "(no journal: %v)\n", err)
	}
	file, err := os.CreateTemp("", "nearcast-report-")
	if err != nil {
		return err
	}
	defer os.Remove(file.Name())
	_, err = file.Write(text.Bytes())
	if err2 := file.Close(); err == nil {
		err = err2
	}
	if err != nil {
		return err
	}
	return upload(ctx, v.Stream.S3, file.Name(), strings.TrimSuffix(v.Cloud.Reports, "/")+"/"+v.Cloud.Group+"/"+instance+".txt")
}
