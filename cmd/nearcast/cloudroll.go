package main

import (
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
)

func cloudRoll(f *cloudFlags) *cobra.Command {
	o := cloud.RollOptions{}
	cmd := &cobra.Command{
		Use:   "roll",
		Short: "Replace nodes by those of the latest release or image, one group after the other",
		Long: `Replace the nodes of all sites, or those of --site, by nodes with the latest release and
image, after terraform apply. One site after the other; servers first, then edge nodes, then
stream nodes. A new node is ready before an old one drains and goes.

Before each group, and while it goes on, the servers of the site must be whole, as Consul and
Nomad count them; before the first, those of all sites. It stops at the first fault, and says
it. It cancels a replacement where a new node gave up, or a group took longer than six hours.
After a group's first nodes AWS waits --pause, in which you may look; it stops by itself when an
alarm of the site goes off.
A tunnel ends when its server is replaced. The command waits ten minutes for another one, and
then cancels what it no longer sees.

With --back, take a release back: all groups launch the version of their launch template again
that their nodes had before, as roll noted it in Consul, and then nodes are replaced, stream nodes
first and servers last. A replacement that goes on is cancelled before. Other sites may be sick. A
second run goes on, and no further back. A group of which it is not known what it had before is
left as it is, and so are the servers of its site; the command names it and fails. Each group
goes back by one version: where the last apply changed some alone, name them by --role.
Before the next terraform apply, give Terraform the earlier release or a
mended one: else it names the bad one again.

Groups whose nodes are all of the latest kind are left alone, so a second run goes on where
the first one stopped. Interrupting the command does not stop the group that is replaced.`,
		Annotations: map[string]string{leaves: "If groups were begun, AWS still replaces the last of them, unless that one is done, and no group after it. Run it again: it goes on."},
		Example:     "  nearcast cloud roll --site eu-central-1\n  nearcast cloud roll --role server --pause 30m\n  nearcast cloud roll --back --site eu-central-1",
		Args:        cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer end()
			o.Sites = sites
			if o.Back && !cmd.Flags().Changed("pause") {
				o.Pause = 0 // what comes back was looked at before
			}
			c.Poll = 10 * time.Second // AWS limits how often it is asked
			if err := c.Roll(cmd.Context(), o); err != nil {
				return err
			}
			if o.Back {
				fmt.Fprintln(cmd.OutOrStdout(), "The nodes of these groups are of the release and image of before. Terraform still has the other one: give it another before the next apply.")
				return nil
			}
			fmt.Fprintln(cmd.OutOrStdout(), "The nodes of these groups are of the latest release and image.")
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&o.Roles, "role", nil, "only this role; can be repeated: "+strings.Join(cloud.Roles, ", "))
	cmd.Flags().BoolVar(&o.Back, "back", false, "take a release back: the version that nodes had before")
	cmd.Flags().DurationVar(&o.Pause, "pause", 10*time.Minute, "wait after a group's first nodes, at most 48h (with --back: 0, if not given)")
	cmd.Flags().DurationVar(&o.Within, "within", 6*time.Hour, "for how long a group may take")
	return cmd
}
