package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
)

func cloudPromote(f *cloudFlags) *cobra.Command {
	var dryRun, yes, lost bool
	var o cloud.PromoteOptions
	cmd := &cobra.Command{
		Use:   "promote SITE",
		Short: "Make another site the primary one",
		Long: `Make another site the primary one: the authority over policies and tokens, whose content is
copied to the others. First it checks the site: servers, keys, the copied access control,
content. Then it takes the steps that --dry-run prints, after you confirmed them.

The primary site is in the configuration of all nodes. So the first step is Terraform's: the
command writes primary.auto.tfvars into its folder, which goes before terraform.tfvars, and runs
terraform apply, which asks you. With --outputs it ends there and says what to change. Then it
replaces servers, at the new primary site before all others, and looks whether Consul and
Nomad follow it, and then edge and stream nodes. Without AWS it says which nodes to configure,
and waits until they follow.

--lost gives up the primary site: it is not asked, and not changed. Take its region out of
terraform.tfvars if AWS does not answer for it. Without --lost it has to be whole, and follows.

It may be killed at any line. Run it again: what is done is left alone.

Exit status: 0 where it is done, or with --dry-run where it may be; else 1.`,
		Annotations: map[string]string{leaves: "If it was confirmed, the change of the primary site may be half done: run it again, and it goes on."},
		Example:     "  nearcast cloud promote us-east-1 --dry-run\n  nearcast cloud promote us-east-1 --lost",
		Args:        cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if len(f.sites) > 0 {
				return errors.New("promote takes the site as its argument, and not by --site")
			}
			f.sites = args
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer func() { end() }()
			c.Poll = 10 * time.Second // AWS limits how often it is asked
			if c.Cloud == nil {
				c.Poll = 2 * time.Second
			}
			site, old := sites[0], c.Outputs.Primary()
			if !site.Primary {
				p, err := c.Promotion(cmd.Context(), site, lost)
				if err != nil {
					return err
				}
				for _, finding := range p.Blocked {
					fmt.Fprint(cmd.OutOrStdout(), finding.Words())
				}
				fmt.Fprintln(cmd.OutOrStdout(), strings.Join(p.Steps, "\n"))
				if len(p.Blocked) > 0 || dryRun {
					return complained(len(p.Blocked))
				}
				if lost {
					o.Lost = old.Name
				}
			} else if o.Lost, err = lostSite(c.Outputs, lost, o.Lost); err != nil {
				return err
			} else if dryRun {
				fmt.Fprintf(cmd.OutOrStdout(), "The outputs name %s as the primary site already; without --dry-run the command makes all nodes follow it.\n", site.Name)
				return nil
			}
			if !yes {
				if err := confirm(cmd, site.Name); err != nil {
					return fmt.Errorf("nothing was changed: %w", err)
				}
			}
			if !site.Primary {
				if f.outputs != "" {
					again := "nearcast cloud promote " + site.Name
					if lost {
						again += " --lost-site " + old.Name
					}
					return fmt.Errorf("set primary_region = %q in terraform.tfvars, run terraform apply, make the file of --outputs anew, and run: %s. Without Terraform: move \"primary\": true to %[1]s in that file", site.Name, again)
				}
				if err := cloud.TerraformPrimary(f.terraform, site.Name, cmd.InOrStdin(), cmd.ErrOrStderr()); err != nil {
					return err
				}
				end()
				end = func() {}
				again, _, endAgain, err := f.open(cmd)
				if err != nil {
					return err
				}
				again.Poll, c, end = c.Poll, again, endAgain
			}
			if got := c.Outputs.Primary().Name; got != site.Name {
				return fmt.Errorf("after terraform apply the outputs still name %s as the primary site", got)
			}
			if err := c.Promote(cmd.Context(), o); err != nil {
				return fmt.Errorf("%w. Run the command again: what is done is left alone", err)
			}
			fmt.Fprintf(cmd.OutOrStdout(), "%s is the primary site.\n", site.Name)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.BoolVar(&dryRun, "dry-run", false, "check, say the steps, and change nothing")
	flags.BoolVar(&yes, "yes", false, "do not ask")
	flags.BoolVar(&lost, "lost", false, "the primary site is given up: do not ask it")
	flags.StringVar(&o.Lost, "lost-site", "", "the former primary site, in a second run after --lost")
	flags.DurationVar(&o.Roll.Pause, "pause", 10*time.Minute, "wait after a group's first nodes, at most 48h")
	flags.DurationVar(&o.Roll.Within, "within", 6*time.Hour, "for how long a group may take")
	return cmd
}

// lostSite is the one that a second run leaves out, where the outputs name the new primary site already.
func lostSite(o cloud.Outputs, lost bool, named string) (string, error) {
	primary := o.Primary().Name
	switch others := slices.DeleteFunc(o.Names(), func(n string) bool { return n == primary }); {
	case named == primary:
		return "", fmt.Errorf("--lost-site: %s is the primary site already, so it cannot be the one that is lost", named)
	case named != "" || !lost:
		return named, nil
	case len(others) == 1:
		return others[0], nil
	case len(others) == 0: // it was taken out
		return "", nil
	default:
		return "", fmt.Errorf("the outputs name %s as the primary site already: in place of --lost, name the former one by --lost-site (%s)", primary, strings.Join(others, ", "))
	}
}

// confirm asks a person, who has to type the name.
func confirm(cmd *cobra.Command, name string) error {
	fmt.Fprintf(cmd.ErrOrStderr(), "Type %s to go on: ", name)
	typed := make(chan string, 1)
	// Nothing ends the read of a terminal: after a signal it lasts until the process ends.
	go func() {
		line, _ := bufio.NewReader(cmd.InOrStdin()).ReadString('\n')
		typed <- line
	}()
	select {
	case line := <-typed:
		if strings.TrimSpace(line) != name {
			return errors.New("it was not confirmed")
		}
		return nil
	case <-cmd.Context().Done():
		return context.Cause(cmd.Context())
	}
}
