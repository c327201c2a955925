package main

import (
	"context"
	"fmt"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/cloud"
)

func cloudDoctor(f *cloudFlags) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "doctor",
		Short: "Say what is wrong with nodes, sites and the ways between them",
		Long: `Look at all sites, and say in words what is wrong, what was seen of it, and what to do:
servers without quorum or of different versions, nodes that are lost, take no work or whose
drivers are not healthy, jobs of the platform, records without health, brains that are full,
groups with fewer nodes than wanted and the reasons that their nodes left, seats that keep
failing, content whose copies are behind, clocks, the certificates that people see and those
between nodes, nodes with another version of Nomad than the servers, backups that are older than
a day, and links between sites that are cut.

Links are those of servers from the site whose server is asked to the others, and those of each
site's router to the others. For the servers of two other sites, ask through one of the two.

Exit status: 0 where nothing is wrong, else 1. What could not be looked at is printed, and is no
fault.`,
		Example: "  nearcast cloud doctor\n  nearcast cloud doctor --site eu-central-1 --json",
		Args:    cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			c, sites, end, err := f.open(cmd)
			if err != nil {
				return err
			}
			defer end()
			findings := c.Doctor(cmd.Context(), sites)
			if err := context.Cause(cmd.Context()); err != nil {
				return err // what was not looked at would count as wrong, or as nothing
			}
			faults := 0
			for _, finding := range findings {
				if !finding.Unknown && !finding.Note {
					faults++
				}
				if !asJSON {
					fmt.Fprint(cmd.OutOrStdout(), finding.Words())
				}
			}
			if asJSON {
				if findings == nil {
					findings = []cloud.Finding{} // "[]" in JSON
				}
				if err := printJSON(cmd.OutOrStdout(), findings); err != nil {
					return err
				}
			} else if faults == 0 {
				fmt.Fprintf(cmd.OutOrStdout(), "nothing is wrong at %d sites\n", len(sites))
			}
			return complained(faults)
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}
