package main

import (
	"context"
	"fmt"
	"io"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/dev"
)

// ask sends a request to the running planet and shows its table.
func ask(ctx context.Context, out io.Writer, dir, request string, arguments url.Values) error {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	table, err := dev.Control(ctx, dir, request, arguments)
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
		Long: "Move the person of a planet: her round trips become those of the place. Places are\n" +
			strings.Join(dev.Places(), ", ") + ",\nor latitude,longitude in degrees.",
		Example: "  nearcast dev locate tokyo\n  nearcast dev locate 64.1,-21.9",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), cmd.OutOrStdout(), *dir, "locate", url.Values{"place": args})
		},
	}
}

func devCut(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "cut SITE [OTHER]",
		Short: "Cut a site of a planet off, from everybody or from one other",
		Long: `Cut a site of a planet off: every packet between it and all others, or one
other, is lost, as if it were dead. OTHER is a site, or "person".`,
		Example: "  nearcast dev cut eu-west-1\n  nearcast dev cut eu-west-1 person",
		Args:    cobra.RangeArgs(1, 2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), cmd.OutOrStdout(), *dir, "cut", ends(args))
		},
	}
}

func devHeal(dir *string) *cobra.Command {
	return &cobra.Command{
		Use:   "heal [SITE [OTHER]]",
		Short: "Undo cuts: all of them, a site's, or one",
		Args:  cobra.MaximumNArgs(2),
		RunE: func(cmd *cobra.Command, args []string) error {
			return ask(cmd.Context(), cmd.OutOrStdout(), *dir, "heal", ends(args))
		},
	}
}

func devExec(dir *string) *cobra.Command {
	var site string
	cmd := &cobra.Command{
		Use:   "exec [--site SITE] -- COMMAND…",
		Short: "Run a command in the person's namespace of a planet, or in a site's",
		Long: `Run a command in the person's namespace of a planet, or in a site's. It sees the
planet's addresses and nothing else, and ends when the planet does.`,
		Example: "  nearcast dev exec -- curl -s http://198.18.3.10:7700/v1/sites\n  nearcast dev exec --site eu-west-1 -- bash",
		Args:    cobra.MinimumNArgs(1),
		RunE: func(_ *cobra.Command, args []string) error {
			if site == "" {
				site = dev.Person
			}
			return dev.Exec(*dir, site, args)
		},
	}
	cmd.Flags().StringVar(&site, "site", "", "the site (default the person's namespace)")
	cmd.Flags().SetInterspersed(false) // what follows is the command's own
	return cmd
}
