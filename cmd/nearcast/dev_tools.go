package main

import (
	"fmt"
	"maps"
	"slices"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev/setup"
)

func devPackages() *cobra.Command {
	var tests, install bool
	cmd := &cobra.Command{
		Use:   "packages",
		Short: "List or install the Debian packages that the cluster needs",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			want := setup.RunPackages
			if tests {
				want = append(want[:len(want):len(want)], setup.TestPackages...)
			}
			if install {
				if err := setup.InstallPackages(cmd.Context(), want, cmd.OutOrStdout()); err != nil || !tests {
					return err
				}
				return setup.UnpackPrograms(cmd.Context(), setup.TestPrograms, cmd.OutOrStdout())
			}
			for _, p := range want {
				fmt.Fprintf(cmd.OutOrStdout(), "%-34s %s\n", p.Name, p.Reason)
			}
			return nil
		},
	}
	cmd.Flags().BoolVar(&tests, "tests", false, "also those that only tests need")
	cmd.Flags().BoolVar(&install, "install", false, "install those that are missing")
	return cmd
}

func devTools() *cobra.Command {
	return &cobra.Command{
		Use:   "tools [NAME...]",
		Short: "Find Consul, Nomad and the S3 server, or download or build them",
		Long: `Find Consul, Nomad and the S3 server, or the named servers, and print their paths.
nomad-autoscaler is found only by name: a dev cluster does not need it.

Each server comes from PATH, in whatever version; else from the cache; else it is the
official release of the pinned version, with checksum and signature verified (Consul and
Nomad); else it is built from source.

  NEARCAST_TOOLS_DIR     keeps the servers (default: nearcast/tools/bin in your cache)
  NEARCAST_RELEASES_URL  mirror of https://releases.hashicorp.com; "off" builds from source`,
		RunE: func(cmd *cobra.Command, names []string) error {
			tools, err := setup.Tools(cmd.Context(), "", cmd.ErrOrStderr(), names...)
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
