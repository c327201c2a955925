package main

import (
	"context"
	"fmt"
	"io"
	"slices"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// webhookStates is how deliveries go, by site and webhook. err names the sites that did not answer.
func webhookStates(ctx context.Context, s *keySites) (map[string]map[string]wire.WebhookState, error) {
	var mu sync.Mutex
	bySite := map[string]map[string]wire.WebhookState{}
	_, err := s.each(ctx, func(ctx context.Context, site string, at *fleet.Fleet) error {
		all, err := at.WebhookStates().All(ctx)
		mu.Lock()
		defer mu.Unlock()
		bySite[site] = all
		return err
	})
	return bySite, err
}

// delivery is how the deliveries of one site to a webhook go.
type delivery struct {
	Site string `json:"site"`
	wire.WebhookState
}

func webhookDeliveries(consul *fleet.Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "deliveries [ID]",
		Short: "Show how the deliveries to webhooks go, by site",
		Long: `Show how deliveries go: what waits, since when they fail and why, what was dropped.
A site's leader writes this when deliveries begin to fail or to succeed, and else once a
minute. Counts begin anew with each leader.`,
		Args: cobra.MaximumNArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			sites, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer sites.close()
			if len(args) > 0 {
				if _, err := webhooks.find(cmd.Context(), sites, args[0]); err != nil {
					return err
				}
			}
			states, failed := webhookStates(cmd.Context(), sites)
			list := []delivery{}
			for _, site := range sites.names {
				for id, state := range states[site] {
					if len(args) == 0 || id == args[0] {
						list = append(list, delivery{site, state})
					}
				}
			}
			slices.SortFunc(list, func(a, b delivery) int { return slices.Compare([]string{a.ID, a.Site}, []string{b.ID, b.Site}) })
			if err := showDeliveries(cmd.OutOrStdout(), list, asJSON); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showDeliveries(w io.Writer, list []delivery, asJSON bool) error {
	if asJSON {
		return printJSON(w, list)
	}
	if len(list) == 0 {
		fmt.Fprintln(w, "No site has sent anything to a webhook.")
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "WEBHOOK\tSITE\tDELIVERED\tWAIT\tDROPPED\tSTATE")
	for _, d := range list {
		state := "ok"
		switch {
		case !d.FailingSince.IsZero():
			state = fmt.Sprintf("fails for %s: %s", time.Since(d.FailingSince).Round(time.Second), d.Error)
		case !d.Succeeded.IsZero():
			state = "ok, last " + ago(d.Succeeded) + " ago"
		}
		fmt.Fprintf(table, "%s\t%s\t%d\t%d\t%d\t%s\n", d.ID, d.Site, d.Delivered, d.Pending, d.Dropped, state)
	}
	return table.Flush()
}
