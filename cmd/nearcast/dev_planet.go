package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev/planet"
)

// send sends a command to the running planet and shows its table.
func send(ctx context.Context, out io.Writer, dir, command string, arguments url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	table, err := planet.Send(ctx, dir, command, arguments)
	if err != nil {
		return err
	}
	fmt.Fprint(out, table)
	return nil
}

// ends are the arguments of cut and heal: one end of the WAN, or two.
func ends(args []string) url.Values {
	v := url.Values{}
	for i, name := range args {
		v.Set([]string{"a", "b"}[i], name)
	}
	return v
}

func devLocate(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "locate PLACE",
		Short: "Move the person of a planet",
		Long: "Move the person of a planet: their round trips become those of the place. PLACE is one of\n" +
			strings.Join(planet.Places(), ", ") + ",\nor latitude,longitude in degrees.",
		Example: "  nearcast dev locate tokyo\n  nearcast dev locate 64.1,-21.9",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return send(cmd.Context(), cmd.OutOrStdout(), *dir, "locate", url.Values{"place": args})
		},
	}
}

func devCut(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "cut SITE [OTHER]",
		Short: "Cut off a site of a planet",
		Long: `Cut off a site of a planet: all packets between it and OTHER are lost, as if it were
down. OTHER is a site, or "person"; the default is all of them.`,
		Example: "  nearcast dev cut eu-west-1\n  nearcast dev cut eu-west-1 person",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return send(cmd.Context(), cmd.OutOrStdout(), *dir, "cut", ends(args))
		},
	}
}

func devHeal(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "heal [SITE [OTHER]]",
		Short: "Undo cuts: all of them, a site's, or one",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return send(cmd.Context(), cmd.OutOrStdout(), *dir, "heal", ends(args))
		},
	}
}

func devExec(dir *string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:   "exec [--site SITE] -- COMMAND…",
		Short: "Run a command in the person's namespace of a planet, or in a site's",
		Long: `Run a command in the person's namespace of a planet, or in a site's. The command
reaches the planet's addresses and nothing else. It ends when the planet ends.`,
		Example: "  nearcast dev exec -- curl -s http://198.18.3.10:7700/v1/sites\n  nearcast dev exec --site eu-west-1 -- bash",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if site == "" {
				site = planet.Person
			}
			return planet.Exec(*dir, site, args)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the site (default: the person's namespace)")
	cmd.Flags().SetInterspersed(false) // flags after COMMAND are the command's
	return cmd
}
