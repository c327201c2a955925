package cli

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/aws/aws-sdk-go-v2/feature/ec2/imds"
	"github.com/spf13/cobra"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/provision"
	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/drain"
	"github.com/nearcast/nearcast/provision/health"
)

// deadFile says that this node was given up with a dead Nomad, which drains nothing; it is in memory.
const deadFile = "/run/nearcast-dead"

func healthCommand() *cobra.Command {
	var env, dir, metadata, mark, runDir, nomadData string
	c := health.Config{Restart: restart}
	cmd := &cobra.Command{
		Use:   "health",
		Short: "Tell this node's auto scaling group when its agents stay dead",
		Long: `Look at Consul, Nomad and, on a stream node, the driver of seats. What is dead is
restarted, twice. When that does not help for 15 minutes, write why to
NEARCAST_REPORTS_URL, and tell the group that this node is unhealthy: it launches
another one. Minutes add up until all was well for an hour.

Nothing is told within three hours of the node's boot, while a session runs on the node, while the site itself has no leader,
while another node of the group is sick, starts or ends, or for an agent that somebody
has stopped (systemctl stop). To keep a node with a dead agent, stop the unit
nearcast-health. Servers are never given up.`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			Service(cmd)
			ctx := cmd.Context()
			v, err := load(env, slog.Default())
			if err != nil {
				return err
			}
			if v.Role == provision.Server || v.Cloud.Group == "" {
				return errors.New("this is for edge and stream nodes of an auto scaling group")
			}
			cfg, err := awsConfig(ctx, v.Site)
			if err != nil {
				return err
			}
			v.Paths.NomadData = cmp.Or(nomadData, v.Paths.NomadData)
			if c.Booted, err = booted(); err != nil {
				return err
			}
			c.Group, c.Meta = awsapi.New(cfg, v.Site), awsapi.NewIMDS(imds.Options{Endpoint: metadata})
			c.Lifecycle = awsapi.Lifecycle{Group: v.Cloud.Group}
			login := &agents.Login{}
			c.Look = func(ctx context.Context) health.Seen { return alive(ctx, v, dir, login, stopped) }
			if v.Role == provision.Stream {
				c.Sessions = drain.Sessions(cmp.Or(runDir, v.Paths.RunDir))
			}
			c.Mark = func(given bool) error {
				if given {
					return os.WriteFile(mark, nil, 0o600)
				}
				if err := os.Remove(mark); !errors.Is(err, os.ErrNotExist) {
					return err
				}
				return nil
			}
			c.Keep = keeper(v)
			return health.Run(ctx, c)
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&env, "env", envFile, "the file that describes this node")
	flags.StringVar(&dir, "secrets", secretsDir, "the folder with this node's secrets")
	flags.StringVar(&metadata, "imds", os.Getenv("AWS_EC2_METADATA_SERVICE_ENDPOINT"), "URL of the metadata service (default: the cloud's)")
	flags.StringVar(&runDir, "run-dir", "", "the folder of the node's seats (default: that of the driver)")
	flags.StringVar(&nomadData, "nomad-data", "", "the folder of Nomad's data (default: the node's)")
	flags.StringVar(&mark, "mark", deadFile, "the file that says that this node was given up")
	flags.DurationVar(&c.Dead, "dead", 15*time.Minute, "how long a part may be dead until the group is told")
	flags.DurationVar(&c.Spread, "spread", 5*time.Minute, "at most so much later, so that nodes differ")
	flags.DurationVar(&c.Young, "young", 3*time.Hour, "how long after the node's boot the group is not told")
	flags.DurationVar(&c.Poll, "poll", 30*time.Second, "time between looks")
	return cmd
}

// alive looks at this node once. An agent is dead if it does not answer at all: what it
// says of its servers, or of other nodes, is no fault of this node.
func alive(ctx context.Context, v provision.Values, dir string, login *agents.Login, stopped func(context.Context, string) bool) (seen health.Seen) {
	ctx, cancel := context.WithTimeout(ctx, lookWithin)
	defer cancel()
	s, err := provision.LoadSecrets(dir, v.Role) // without them the agents still can be asked whether they are there
	consul, nomad := agentsOf(v, s, dir)
	nomad.Login = login
	parts := []struct {
		name, unit string
		alive, led func(context.Context) error
	}{{"Consul", "consul", consul.Alive, consul.Led}, {health.PartNomad, "nomad", nomad.Alive, nomad.Led}}
	var here []func(context.Context) error
	for _, p := range parts {
		asked, cancel := context.WithTimeout(ctx, lookWithin/3)
		if err := p.alive(asked); err == nil {
			here = append(here, p.led)
		} else if stopped(ctx, p.unit) {
			seen.Hold = "somebody has stopped " + p.unit
			seen.Dead = append(seen.Dead, health.Fault{Part: p.name, Unit: p.unit, Err: err})
		} else {
			seen.Dead = append(seen.Dead, health.Fault{Part: p.name, Unit: p.unit, Err: err})
		}
		cancel()
	}
	if v.Role == provision.Stream && len(here) == len(parts) {
		if err == nil {
			err = nomad.Ready(ctx, v.Tuning.Drivers...)
		}
		if errors.Is(err, agents.ErrDriver) {
			seen.Dead = append(seen.Dead, health.Fault{Part: "driver", Unit: "nomad", Err: err})
		} else if err != nil {
			seen.Unknown = err.Error()
		}
	}
	if len(seen.Dead) == 0 {
		return seen
	}
	for _, led := range here {
		if err := led(ctx); err != nil {
			seen.Hold = err.Error()
		}
	}
	return seen
}

// booted is when this machine booted.
func booted() (time.Time, error) {
	var up unix.Timespec
	if err := unix.ClockGettime(unix.CLOCK_BOOTTIME, &up); err != nil {
		return time.Time{}, fmt.Errorf("read for how long this machine is up: %w", err)
	}
	return time.Now().Add(-time.Duration(up.Nano())), nil
}

// stopped reports whether somebody has stopped a unit: systemd starts one again that ended by itself.
func stopped(ctx context.Context, unit string) bool {
	state, err := exec.CommandContext(ctx, "systemctl", "show", "--property=ActiveState", "--value", unit).Output()
	return err == nil && strings.TrimSpace(string(state)) == "inactive"
}

// restart restarts a unit. Seats go on.
func restart(ctx context.Context, unit string) error {
	ctx, cancel := context.WithTimeout(ctx, 3*time.Minute) // longer than systemd waits for its end
	defer cancel()
	if out, err := exec.CommandContext(ctx, "systemctl", "restart", unit).CombinedOutput(); err != nil {
		return fmt.Errorf("systemctl restart %s: %w: %s", unit, err, out)
	}
	return nil
}
