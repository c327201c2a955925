package main

import (
	"context"
	"crypto/ed25519"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

func keyCommand() *cobra.Command {
	var consul fleet.Config
	cmd := &cobra.Command{
		Use:   "key",
		Short: "Register the keys of customers, whose servers sign launch tokens",
		Long: `Register the keys with which customers sign launch tokens. A signed app can be
launched only with such a token; docs/API.md says how a server makes one.

The public keys are in Consul at every site, below ` + wire.LaunchKeysPrefix + `. These commands
write to all sites through the local Consul agent. They need a token with the policy
nearcast-launch-keys (acl/consul/launch-keys.hcl).

--consul can also be set by NEARCAST_CONSUL or CONSUL_HTTP_ADDR, and --consul-token by
NEARCAST_CONSUL_TOKEN or CONSUL_HTTP_TOKEN. Prefer that for the token: all users of a
node can see command lines.`,
		Example: `  nearcast key create shop --app cad-viewer
  nearcast key list
  nearcast key revoke 3f1c9a7d20b4e865`,
		PersistentPreRunE: func(cmd *cobra.Command, _ []string) error { return flagsFromEnv(cmd) },
	}
	cmd.PersistentFlags().StringVar(&consul.Address, "consul", "127.0.0.1:8500", "address of the local Consul agent")
	cmd.PersistentFlags().StringVar(&consul.Token, "consul-token", "", "Consul ACL token, if Consul needs one")
	cmd.AddCommand(keyCreate(&consul), launchKeys.list(&consul), launchKeys.revoke(&consul))
	return cmd
}

// keyName is what a key may be called: its file is called so too.
var keyName = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

func keyCreate(consul *fleet.Config) *cobra.Command {
	var out, existing string
	var apps []string
	cmd := &cobra.Command{
		Use:   "create NAME",
		Short: "Make a key, and register its public half at all sites",
		Long: `Make an Ed25519 key pair. The private key is written to a file that only you can
read; bring it to the customer's server. The public key is registered at all sites.

With --key no key is made: the key in that file, private or public, is registered.
So a customer can keep the private key to themselves. Use it, too, when a site could
not be reached, or was added since. It also changes the apps of a key.

To rotate a key: create another one, change the server to it, and revoke the old one
15 minutes later. Both are good meanwhile.`,
		Example: `  nearcast key create shop --app cad-viewer --app cad-editor
  nearcast key create shop --key shop.launch-key.pem --app cad-viewer`,
		Args: cobra.ExactArgs(1),
		RunE: func(cmd *cobra.Command, args []string) error {
			name := args[0]
			if !keyName.MatchString(name) {
				return fmt.Errorf("NAME has to be 1 to 64 letters, digits, dots, _ and -, not %q", name)
			}
			if existing != "" && out != "" {
				return errors.New("--out is for a new key; with --key none is made")
			}
			// An empty --app, as of a variable that is not set, must not mean every app.
			if cmd.Flags().Changed("app") && len(apps) == 0 || slices.Contains(apps, "") {
				return errors.New("--app has to name an app; without --app the key may sign for every app")
			}
			all, err := openSites(cmd.Context(), *consul)
			if err != nil {
				return err // before a file is made
			}
			defer all.close()

			var public ed25519.PublicKey
			file := existing
			if existing != "" {
				public, err = ticket.LoadLaunchPublic(existing)
			} else {
				if file = out; file == "" {
					file = name + ".launch-key.pem"
				}
				var private ed25519.PrivateKey
				if private, err = ticket.GenerateLaunchKey(file); err == nil {
					public = private.Public().(ed25519.PublicKey)
				}
			}
			if err != nil {
				return err
			}
			id, text, err := ticket.DescribeLaunchKey(public)
			if err != nil {
				return err
			}
			key := wire.LaunchKey{ID: id, Name: name, PublicKey: text, Apps: apps, Created: time.Now().UTC()}
			if path, err := filepath.Abs(file); err == nil {
				file = path
			}
			w := cmd.OutOrStdout()
			fmt.Fprintf(w, "key        %s (%s), may sign for %s\n", id, name, appsOf(apps))
			if existing == "" {
				fmt.Fprintf(w, "private    %s: bring it to the server that signs launch tokens, and keep it secret\n", file)
			}
			done, err := putLaunchKey(cmd.Context(), all, key)
			fmt.Fprintf(w, "registered %s\n", sitesOf(done))
			if err != nil {
				again := fmt.Sprintf("nearcast key create %s --key %s", name, file)
				for _, app := range apps {
					again += " --app " + app
				}
				return fmt.Errorf("the key is not registered at every site: %w\ntry again there with: %s", err, again)
			}
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringSliceVar(&apps, "app", nil, "app it may sign for; can be repeated (default every app)")
	flags.StringVar(&out, "out", "", "file for the private key, which must not exist (default NAME.launch-key.pem)")
	flags.StringVar(&existing, "key", "", "file of a key that exists: register that one")
	return cmd
}

// launchKeys are all launch keys at all sites.
var launchKeys = records[wire.LaunchKey]{
	one: "key", command: "nearcast key", add: "create NAME",
	at:      (*fleet.Fleet).LaunchKeys,
	about:   func(k wire.LaunchKey) (string, time.Time) { return k.ID, k.Created },
	valid:   ticket.ValidLaunchKeyID,
	columns: []string{"NAME", "APPS"},
	row:     func(k wire.LaunchKey) []string { return []string{k.Name, appsOf(k.Apps)} },
	view: func(k registered[wire.LaunchKey]) any {
		apps := k.Record.Apps
		if apps == nil {
			apps = []string{}
		}
		return listedKey{k.ID, k.Record.Name, apps, k.Created, k.Sites, k.Missing}
	},
	revoked: "From then on no router takes a launch token\nthat it signed. Sessions that run already go on.",
}

// listedKey is a key with the sites that have it.
type listedKey struct {
	ID      string    `json:"id"`
	Name    string    `json:"name"`
	Apps    []string  `json:"apps"` // none: every app
	Created time.Time `json:"created"`
	Sites   []string  `json:"sites"`
	Missing []string  `json:"missing"` // sites that answered and do not have it
}

// putLaunchKey registers a key everywhere. A key that some site has already stays as old as it
// is there.
func putLaunchKey(ctx context.Context, s *keySites, key wire.LaunchKey) (done []string, err error) {
	known, _ := launchKeys.all(ctx, s) // a site that fails here fails again below
	for _, k := range known {
		if k.ID == key.ID {
			key.Created = k.Created
		}
	}
	return launchKeys.put(ctx, s, key)
}

func appsOf(apps []string) string {
	if len(apps) == 0 {
		return "every app"
	}
	return strings.Join(apps, ", ")
}

func sitesOf(sites []string) string {
	if len(sites) == 0 {
		return "nowhere"
	}
	return "at " + strings.Join(sites, ", ")
}

// quiet drops what the Consul adapter would log: the commands say it themselves.
var quiet = slog.New(slog.DiscardHandler)
