package main

import (
	"bufio"
	"fmt"
	"os"
	"os/exec"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
)

// settingFlags are what an operator wants other than by default.
type settingFlags struct {
	set  []string
	file string
}

const settingHelp = `A setting is [SITE/]JOB.VARIABLE=VALUE, of a job in jobs/platform (router, brain, turn,
autoscaler, console, observability, prefetch): router.options=["--residency=eu"]. Each run
makes the jobs what outputs and settings say, so give the same settings each time: --settings
names a file, a setting a line; # begins a comment. The jobs console and observability run
where a setting names them: console.url=https://console.example (at the primary site, if no
SITE is named), observability.retention=15d. The job prefetch runs by default. It has nodes
fetch the content of apps before anybody asks. prefetch.every=0 stops it. No other job is
ever stopped.
Where the outputs name a system bucket, brains keep the events of webhooks there; the setting
brain.options=["--events="] turns it off.`

func (s *settingFlags) add(cmd *cobra.Command) {
	cmd.Flags().StringArrayVar(&s.set, "set", nil, "a setting, [SITE/]JOB.VARIABLE=VALUE; can be repeated, and goes before those of --settings")
	cmd.Flags().StringVar(&s.file, "settings", "", "file with settings, one a line")
}

func (s *settingFlags) read(o cloud.Outputs) ([]cloud.Setting, error) {
	var texts []string
	if s.file != "" {
		file, err := os.Open(s.file)
		if err != nil {
			return nil, fmt.Errorf("--settings: %w", err)
		}
		defer file.Close()
		lines := bufio.NewScanner(file)
		for lines.Scan() {
			if line := strings.TrimSpace(lines.Text()); line != "" && line[0] != '#' {
				texts = append(texts, line)
			}
		}
		if err := lines.Err(); err != nil {
			return nil, fmt.Errorf("--settings: %w", err)
		}
	}
	return o.ParseSettings(append(texts, s.set...))
}

func cloudPlan(f *cloudFlags) *cobra.Command {
	var settings settingFlags
	cmd := &cobra.Command{
		Use:   "plan",
		Short: "Say what terraform apply and up would do, and change nothing",
		Long: `Say in words what terraform apply would change, where terraform and its folder are
there and --outputs is not given, and what the command up would do at each site: what it
would wait for, and which jobs it would register with which variables, as Nomad plans them.

` + settingHelp,
		Example: "  nearcast cloud plan\n  nearcast cloud plan --outputs outputs.json --site eu-central-1",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if _, err := exec.LookPath("terraform"); err == nil && f.outputs == "" {
				words, err := cloud.TerraformPlan(cmd.Context(), f.terraform)
				if err != nil {
					return err
				}
				if len(words) == 0 {
					words = []string{"terraform would change nothing"}
				}
				fmt.Fprintln(cmd.ErrOrStderr(), strings.Join(words, "\n"))
			}
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer end()
			wanted, err := settings.read(c.Outputs)
			if err != nil {
				return err
			}
			pending, err := c.Plan(cmd.Context(), cloud.Options{Sites: sites, Settings: wanted})
			if err == nil && pending == 0 {
				fmt.Fprintln(cmd.OutOrStdout(), "nearcast cloud up would change nothing")
			}
			return err
		},
	}
	settings.add(cmd)
	return cmd
}

func cloudUp(f *cloudFlags) *cobra.Command {
	var settings settingFlags
	var wait time.Duration
	cmd := &cobra.Command{
		Use:   "up",
		Short: "Make router, brain, TURN, autoscaler and prefetch run at every site",
		Long: `Make the platform run at every site, from Terraform's outputs. It waits until the
servers of a site have a quorum, have set up the access control, and the edge nodes are
there. Then it gives routers a token for operators and TURN its secret, registers the jobs
that differ, and waits until their deployments are healthy. The jobs are those of this
release. A second run changes nothing, and one that was interrupted is gone on with.

Keep one edge node more than routers run, as Terraform does: a new version starts there.

` + settingHelp + `

Exit status: 0 where all sites run, else 1. A site that fails does not stop the others.`,
		Annotations: map[string]string{leaves: "Jobs that it did not name as healthy are as they were, or still start. Run it again: it goes on."},
		Example:     "  nearcast cloud up\n  nearcast cloud up --settings cluster.settings\n  nearcast cloud up --site eu-central-1 --set 'router.options=[\"--residency=eu\"]'",
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer end()
			wanted, err := settings.read(c.Outputs)
			if err != nil {
				return err
			}
			changed, err := c.Up(cmd.Context(), cloud.Options{Sites: sites, Settings: wanted, Wait: wait})
			if err != nil {
				return err
			}
			words := "Nothing changed: the platform runs at all sites as it is to be."
			if changed {
				words = "The platform runs at all sites."
			}
			fmt.Fprintln(cmd.OutOrStdout(), words)
			return nil
		},
	}
	settings.add(cmd)
	cmd.Flags().DurationVar(&wait, "wait", 30*time.Minute, "for how long to wait at most")
	return cmd
}
