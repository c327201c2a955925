package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"text/tabwriter"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func apiKeyCommand() *cobra.Command {
	var consul fleet.Config
	cmd := &cobra.Command{
		Use:   "apikey",
		Short: "Make the API keys with which customers' servers read and end sessions",
		Long: `Make API keys. A customer's server sends one to a router to list, read and end the
sessions that were launched with the customer's launch keys; docs/API.md says how.

Consul has the keys' hashes at every site, below ` + wire.APIKeysPrefix + `. These commands write
to all sites through the local Consul agent. They need a token with the policy
nearcast-launch-keys (acl/consul/launch-keys.hcl).

--consul can also be set by NEARCAST_CONSUL or CONSUL_HTTP_ADDR, and --consul-token by
NEARCAST_CONSUL_TOKEN or CONSUL_HTTP_TOKEN. Prefer that for the token: all users of a
node can see command lines.`,
		Example: `  nearcast apikey create shop --scope sessions:read --scope sessions:end
  nearcast apikey list
  nearcast apikey revoke 9a42517c0d4be1f3`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
	}
	cmd.PersistentFlags().StringVar(&consul.Address, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	cmd.PersistentFlags().StringVar(&consul.Token, "consul-token", "", "Consul ACL token, if Consul needs one")
	cmd.AddCommand(apiKeyCreate(&consul), apiKeyList(&consul), apiKeyRevoke(&consul))
	return cmd
}

func apiKeyCreate(consul *fleet.Config) *cobra.Command {
	scopes := []string{ticket.ScopeReadSessions}
	cmd := &cobra.Command{
		Use:   "create CUSTOMER",
		Short: "Make a key for a customer, and register its hash at all sites",
		Long: `Make an API key, and print it: it is shown this once. CUSTOMER is the name of the
customer's launch keys (nearcast key create). Scopes: ` + strings.Join(ticket.Scopes, ", ") + `.

To rotate a key: create another one, change the server to it, and revoke the old one.`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			if !keyName.MatchString(args[0]) {
				return fmt.Errorf("CUSTOMER has to be 1 to 64 letters, digits, dots, _ and -, not %q", args[0])
			}
			for _, scope := range scopes {
				if !slices.Contains(ticket.Scopes, scope) {
					return fmt.Errorf("--scope %q is unknown; there are %s", scope, strings.Join(ticket.Scopes, ", "))
				}
			}
			if len(scopes) == 0 {
				return errors.New("--scope has to name a scope")
			}
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer all.close()
			secret, id, sum := ticket.NewAPIKey()
			key := wire.APIKey{ID: id, Customer: args[0], Scopes: scopes, SHA256: sum, Created: time.Now().UTC()}
			done, err := all.each(cmd.Context(), func(ctx context.Context, _ string, at *fleet.Fleet) error { return at.PutAPIKey(ctx, key) })
			if len(done) == 0 && err != nil {
				return fmt.Errorf("the key is registered nowhere: %w", err)
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "key        %s for sessions of %s: %s\n", id, key.Customer, strings.Join(scopes, ", "))
			fmt.Fprintf(w, "secret     %s\n", secret)
			fmt.Fprintf(w, "registered %s\n", sitesOf(done))
			if err != nil {
				return fmt.Errorf("the key is not registered at every site: %w\nrouters there refuse it: revoke it (nearcast apikey revoke %s) and make another when they answer", err, id)
			}
			return nil
		},
	}
	cmd.Flags().StringSliceVar(&scopes, "scope", scopes, "what it may do; can be repeated")
	return cmd
}

// listedAPIKey is a key with the sites that have it.
type listedAPIKey struct {
	ID       string    `json:"id"`
	Customer string    `json:"customer"`
	Scopes   []string  `json:"scopes"`
	Created  time.Time `json:"created"`
	Sites    []string  `json:"sites"`
}

// apiKeys gives all API keys, the oldest first. err names the sites that did not answer.
func (s *keySites) apiKeys(ctx context.Context) ([]listedAPIKey, error) {
	var mu sync.Mutex
	found := map[string]*listedAPIKey{}
	_, err := s.each(ctx, func(ctx context.Context, site string, at *fleet.Fleet) error {
		keys, err := at.APIKeys(ctx)
		mu.Lock()
		defer mu.Unlock()
		for id, k := range keys {
			if found[id] == nil {
				found[id] = &listedAPIKey{ID: id, Customer: k.Customer, Scopes: k.Scopes, Created: k.Created}
			}
			found[id].Sites = append(found[id].Sites, site)
		}
		return err
	})
	list := []listedAPIKey{}
	for _, k := range found {
		slices.Sort(k.Sites)
		list = append(list, *k)
	}
	slices.SortFunc(list, func(a, b listedAPIKey) int { return cmp.Or(a.Created.Compare(b.Created), cmp.Compare(a.ID, b.ID)) })
	return list, err
}

func apiKeyList(consul *fleet.Config) *cobra.Command {
	var asJSON bool
	cmd := &cobra.Command{
		Use:   "list",
		Short: "Show the registered keys",
		Args:  cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer all.close()
			keys, failed := all.apiKeys(cmd.Context())
			if err := showAPIKeys(cmd.OutOrStdout(), keys, asJSON); err != nil {
				return err
			}
			return failed
		},
	}
	cmd.Flags().BoolVar(&asJSON, "json", false, "print JSON")
	return cmd
}

func showAPIKeys(w io.Writer, keys []listedAPIKey, asJSON bool) error {
	if asJSON {
		return printJSON(w, keys)
	}
	if len(keys) == 0 {
		fmt.Fprintln(w, "No API key is registered. Make one with: nearcast apikey create CUSTOMER")
		return nil
	}
	table := tabwriter.NewWriter(w, 0, 0, 3, ' ', 0)
	fmt.Fprintln(table, "ID\tCUSTOMER\tSCOPES\tCREATED\tSITES")
	for _, k := range keys {
		fmt.Fprintf(table, "%s\t%s\t%s\t%s\t%s\n", k.ID, k.Customer, strings.Join(k.Scopes, ", "), k.Created.Format(time.RFC3339), sitesOf(k.Sites))
	}
	return table.Flush()
}

func apiKeyRevoke(consul *fleet.Config) *cobra.Command {
	return &cobra.Command{
		Use:     "revoke ID",
		Short:   "Revoke a key at all sites, at once",
		Example: "  nearcast apikey revoke 9a42517c0d4be1f3",
		Args:    cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			id := args[0]
			if !ticket.ValidAPIKeyID(id) {
				return fmt.Errorf("%q is not the id of an API key; nearcast apikey list shows them", id)
			}
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err
			}
			defer all.close()
			keys, failed := all.apiKeys(cmd.Context())
			if failed == nil && !slices.ContainsFunc(keys, func(k listedAPIKey) bool { return k.ID == id }) {
				return fmt.Errorf("no site has an API key %s; nearcast apikey list shows them", id)
			}
			done, err := all.each(cmd.Context(), func(ctx context.Context, _ string, at *fleet.Fleet) error { return at.DeleteAPIKey(ctx, id) })
			fmt.Fprintf(cmd.OutOrStdout(), "revoked %s\n", sitesOf(done))
			if err != nil {
				return fmt.Errorf("API key %s may still be good at a site: %w\ntry again with: nearcast apikey revoke %s", id, err, id)
			}
			return nil
		},
	}
}
