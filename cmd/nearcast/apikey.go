package main

import (
	"errors"
	"fmt"
	"slices"
	"strings"
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
	cmd.AddCommand(apiKeyCreate(&consul), apiKeys.list(&consul), apiKeys.revoke(&consul))
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
			done, err := apiKeys.put(cmd.Context(), all, key)
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

// apiKeys are all API keys at all sites.
var apiKeys = records[wire.APIKey]{
	one: "API key", command: "nearcast apikey", add: "create CUSTOMER",
	at:      (*fleet.Fleet).APIKeys,
	about:   func(k wire.APIKey) (string, time.Time) { return k.ID, k.Created },
	valid:   ticket.ValidAPIKeyID,
	columns: []string{"CUSTOMER", "SCOPES"},
	row:     func(k wire.APIKey) []string { return []string{k.Customer, strings.Join(k.Scopes, ", ")} },
	view: func(k registered[wire.APIKey]) any {
		return listedAPIKey{k.ID, k.Record.Customer, k.Record.Scopes, k.Created, k.Sites, k.Missing}
	},
	revoked: "From then on no router takes it.",
}

// listedAPIKey is a key with the sites that have it.
type listedAPIKey struct {
	ID       string    `json:"id"`
	Customer string    `json:"customer"`
	Scopes   []string  `json:"scopes"`
	Created  time.Time `json:"created"`
	Sites    []string  `json:"sites"`
	Missing  []string  `json:"missing"` // sites that answered and do not have it
}
