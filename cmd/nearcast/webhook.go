package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/brain/events"
	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

func webhookCommand() *cobra.Command {
	var consul fleet.Config
	cmd := &cobra.Command{
		Use:   "webhook",
		Short: "Register where customers' servers get events",
		Long: `Register webhooks: URLs to which each site sends what happens to sessions, signed.
docs/API.md has the events, and how a server checks them. The brains need --events.

Consul has webhooks and their secrets at every site, below ` + wire.WebhooksPrefix + `, where only
brains read them. These commands write to all sites through the local Consul agent. They
need a token with the policy nearcast-webhooks (acl/consul/webhooks.hcl).

--consul can also be set by NEARCAST_CONSUL or CONSUL_HTTP_ADDR, and --consul-token by
NEARCAST_CONSUL_TOKEN or CONSUL_HTTP_TOKEN. Prefer that for the token: all users of a
node can see command lines.`,
		Example: `  nearcast webhook add https://shop.example/hooks --customer shop
  nearcast webhook test 9a42517c0d4be1f3
  nearcast webhook deliveries
  nearcast webhook rotate 9a42517c0d4be1f3
  nearcast webhook revoke 9a42517c0d4be1f3`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd, "consul", "consul-token") },
	}
	cmd.PersistentFlags().StringVar(&consul.Address, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	cmd.PersistentFlags().StringVar(&consul.Token, "consul-token", "", "Consul ACL token, if Consul needs one")
	cmd.AddCommand(webhookAdd(&consul), webhooks.list(&consul), webhookShow(&consul), webhookTest(&consul), webhookRotate(&consul),
		webhookDeliveries(&consul), webhooks.revoke(&consul))
	return cmd
}

// webhooks are all webhooks at all sites.
var webhooks = records[wire.Webhook]{
	one: "webhook", command: "nearcast webhook", add: "add URL --customer NAME",
	at:      (*fleet.Fleet).Webhooks,
	about:   func(w wire.Webhook) (string, time.Time) { return w.ID, w.Created },
	valid:   events.ValidID,
	columns: []string{"CUSTOMER", "TYPES", "URL"},
	row:     func(w wire.Webhook) []string { return []string{customerOf(w), typesOf(w.Types), w.URL} },
	view:    func(w registered[wire.Webhook]) any { return viewWebhook(w) },
	revoked: "Sites send nothing to it from then on, and\nforget what waits for it.",
}

// listedWebhook is a webhook without its secrets, with the sites that have it.
type listedWebhook struct {
	ID       string    `json:"id"`
	URL      string    `json:"url"`
	Customer string    `json:"customer"` // empty: all, and events of the site
	Types    []string  `json:"types"`
	Created  time.Time `json:"created"`
	// Secrets is how many sign, and Until when the last that was replaced ends.
	Secrets int       `json:"secrets"`
	Until   time.Time `json:"until,omitzero"`
	Sites   []string  `json:"sites"`
	Missing []string  `json:"missing"` // sites that answered and do not have it
}

func viewWebhook(w registered[wire.Webhook]) listedWebhook {
	v := listedWebhook{ID: w.ID, URL: w.Record.URL, Customer: w.Record.Customer, Types: w.Record.Types, Created: w.Created, Sites: w.Sites, Missing: w.Missing}
	if len(v.Types) == 0 {
		v.Types = mayGet(w.Record.Customer)
	}
	for _, s := range w.Record.Secrets {
		if s.Until.IsZero() || s.Until.After(time.Now()) {
			v.Secrets++
		}
		if s.Until.After(v.Until) && s.Until.After(time.Now()) {
			v.Until = s.Until
		}
	}
	return v
}

func customerOf(w wire.Webhook) string { return cmp.Or(w.Customer, "every customer") }

func typesOf(types []string) string {
	if len(types) == 0 {
		return "all"
	}
	short := make([]string, len(types))
	for i, t := range types {
		short[i] = strings.TrimPrefix(t, wire.EventPrefix)
	}
	return strings.Join(short, ",")
}

// mayGet are the types of which a customer's webhook is told; those of an operator's without one.
func mayGet(customer string) []string {
	return slices.DeleteFunc(slices.Clone(wire.EventTypes), func(t string) bool { return customer != "" && slices.Contains(wire.SiteEvents, t) })
}

// parseTypes reads names of types, with or without their prefix.
func parseTypes(names []string, customer string) (types []string, err error) {
	for _, name := range names {
		t := wire.EventPrefix + strings.TrimPrefix(name, wire.EventPrefix)
		switch {
		case !slices.Contains(wire.EventTypes, t):
			return nil, fmt.Errorf("--types %q is unknown; there are %s", name, typesOf(wire.EventTypes))
		case !slices.Contains(mayGet(customer), t):
			return nil, fmt.Errorf("--types %s is of a site, and only for a webhook without --customer", name)
		case !slices.Contains(types, t):
			types = append(types, t)
		}
	}
	return types, nil
}

func webhookAdd(consul *fleet.Config) *cobra.Command {
	var customer string
	var names []string
	var all, private bool
	cmd := &cobra.Command{
		Use:   "add URL",
		Short: "Register a webhook at all sites",
		Long: `Register a webhook, and print its secret: it is shown this once. It begins with what
happens from now on.

With --customer it gets the events of that customer's sessions: those launched with the
customer's launch keys (nearcast key create). With --all-customers it is an operator's, and
gets those of all sessions, seat.failed and app.published.`,
		Example: `  nearcast webhook add https://shop.example/hooks --customer shop
  nearcast webhook add https://ops.example/hooks --all-customers --types seat.failed,app.published`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if err := events.CheckURL(args[0], private); err != nil {
				return err
			}
			switch {
			case all == (customer != ""):
				return errors.New("say whose events it gets: --customer NAME, or --all-customers for an operator's webhook")
			case customer != "" && !keyName.MatchString(customer):
				return fmt.Errorf("--customer has to be 1 to 64 letters, digits, dots, _ and -, not %q", customer)
			case cmd.Flags().Changed("types") && len(names) == 0:
				return errors.New("--types has to name a type; without it the webhook gets all")
			}
			types, err := parseTypes(names, customer)
			if err != nil {
				return err
			}
			sites, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer sites.close()
			if known, err := webhooks.all(cmd.Context(), sites); err == nil && len(known) >= wire.MaxWebhooks {
				return fmt.Errorf("there are %d webhooks, and a site takes no more; nearcast webhook revoke ends one", len(known))
			}
			hook := wire.Webhook{ID: events.NewID(), URL: args[0], Customer: customer, Types: types,
				Secrets: []wire.WebhookSecret{{Secret: events.NewSecret()}}, Created: time.Now().UTC()}
			done, err := webhooks.put(cmd.Context(), sites, hook)
			if len(done) == 0 && err != nil {
				return fmt.Errorf("the webhook is registered nowhere: %w", err)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "webhook    %s for %s: %s\n", hook.ID, customerOf(hook), typesOf(types))
			fmt.Fprintf(w, "secret     %s\n", hook.Secrets[0].Secret)
			fmt.Fprintf(w, "registered %s\n", sitesOf(done))
			if err != nil {
				return fmt.Errorf("the webhook is not registered at every site: %w\nits events of those sites are not sent: revoke it (nearcast webhook revoke %s) and add it again when they answer", err, hook.ID)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&customer, "customer", "", "whose sessions it is told of: the name of the customer's launch keys")
	flags.BoolVar(&all, "all-customers", false, "an operator's webhook: all sessions, and events of the sites")
	flags.StringSliceVar(&names, "types", nil, "only these types, such as session.started; can be repeated (default all)")
	flags.BoolVar(&private, "private", false, "let it be http://, or at an address that is not public; for brains with --private-webhooks")
	return cmd
}

// onOne runs do with a registered webhook.
func onOne(consul *fleet.Config, do func(cmd *cobra.Command, sites *keySites, hook registered[wire.Webhook]) error) func(*cobra.Command, []string) error {
	return func(cmd *cobra.Command, args []string) error {
		sites, err := openSites(cmd.Context(), *consul)
		if err != nil {
			return err
		}
		defer sites.close()
		hook, err := webhooks.find(cmd.Context(), sites, args[0])
		if err != nil {
			return err
		}
		return do(cmd, sites, hook)
	}
}

func webhookShow(consul *fleet.Config) *cobra.Command {
	return &cobra.Command{
		Use: "show ID", Short: "Show a webhook, without its secrets, as JSON", Args: cobra.ExactArgs(1),
		RunE: onOne(consul, func(cmd *cobra.Command, _ *keySites, hook registered[wire.Webhook]) error {
			return printJSON(cmd.OutOrStdout(), viewWebhook(hook))
		}),
	}
}

func webhookRotate(consul *fleet.Config) *cobra.Command {
	overlap := 24 * time.Hour
	cmd := &cobra.Command{
		Use:   "rotate ID",
		Short: "Give a webhook a new secret",
		Long: `Make a new secret, and print it: it is shown this once. Messages are signed with the
new and the old one until the old one ends, so a server can change at any moment between.`,
		Args: cobra.ExactArgs(1),
		RunE: onOne(consul, func(cmd *cobra.Command, sites *keySites, hook registered[wire.Webhook]) error {
			if overlap < 0 || overlap > 90*24*time.Hour {
				return fmt.Errorf("--overlap has to be 0 to 2160h, not %s", overlap)
			}
			record := hook.Record
			made, until := events.NewSecret(), time.Now().Add(overlap).UTC()
			secrets := []wire.WebhookSecret{{Secret: made}}
			for _, s := range record.Secrets {
				if s.Until.IsZero() {
					s.Until = until
				}
				if s.Until.After(time.Now()) {
					secrets = append(secrets, s)
				}
			}
			if len(secrets) > wire.MaxWebhookSecrets {
				return fmt.Errorf("%d secrets are in force, and there can be no more: wait until %s, or revoke the webhook", len(secrets)-1, secrets[len(secrets)-1].Until.Format(time.RFC3339))
			}
			record.Secrets = secrets
			done, err := webhooks.put(cmd.Context(), sites, record)
			if len(done) == 0 && err != nil {
				return fmt.Errorf("no site has the new secret: %w", err)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "secret  %s\n", made)
			fmt.Fprintf(w, "old     signs until %s\n", until.Format(time.RFC3339))
			fmt.Fprintf(w, "changed %s\n", sitesOf(done))
			if err != nil {
				return fmt.Errorf("sites that sign with the old secret alone: %w\nkeep both secrets at the server, and rotate again when they answer", err)
			}
			return nil
		}),
	}
	cmd.Flags().DurationVar(&overlap, "overlap", overlap, "how long the old secret signs, too; 0 where it is known to others")
	return cmd
}

func webhookTest(consul *fleet.Config) *cobra.Command {
	return &cobra.Command{
		Use:   "test ID",
		Short: "Have each site send a test event, and show what came of it",
		Args:  cobra.ExactArgs(1),
		RunE: onOne(consul, func(cmd *cobra.Command, sites *keySites, hook registered[wire.Webhook]) error {
			record := hook.Record
			record.Test = time.Now().UTC().Truncate(time.Millisecond)
			done, failed := webhooks.put(cmd.Context(), sites, record)
			answered, err := awaitTest(cmd.Context(), sites, record, done)
			for _, site := range done {
				result := "no answer: is a brain running with --events?"
				if t := answered[site]; t != nil {
					result = fmt.Sprintf("delivered in %d ms", t.TookMS)
					if t.Error != "" {
						result = "failed: " + t.Error
					}
				}
				fmt.Fprintf(cmd.OutOrStdout(), "%s  %s\n", site, result)
			}
			return errors.Join(failed, err)
		}),
	}
}

// testWithin is how long sites have to send a test event. A test has less.
var testWithin = 25 * time.Second

// awaitTest waits until sites have said what became of a test.
func awaitTest(ctx context.Context, s *keySites, hook wire.Webhook, sites []string) (map[string]*wire.WebhookTest, error) {
	ctx, cancel := context.WithTimeout(ctx, testWithin)
	defer cancel()
	answered := map[string]*wire.WebhookTest{}
	tick := time.NewTicker(250 * time.Millisecond)
	defer tick.Stop()
	for len(answered) < len(sites) {
		states, _ := webhookStates(ctx, s)
		for site, all := range states {
			if t := all[hook.ID].Test; t != nil && t.Asked.Equal(hook.Test) {
				answered[site] = t
			}
		}
		select {
		case <-tick.C:
			continue
		case <-ctx.Done():
		}
		break
	}
	if n := len(sites) - len(answered); n > 0 {
		return answered, fmt.Errorf("%d of %d sites did not send the test", n, len(sites))
	}
	for _, t := range answered {
		if t.Error != "" {
			return answered, errors.New("the test failed")
		}
	}
	return answered, nil
}
