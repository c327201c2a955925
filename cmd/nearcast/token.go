package main

import (
	"errors"
	"fmt"
	"net/url"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"github.com/nearcast/nearcast/internal/ticket"
)

func tokenCommand() *cobra.Command {
	cmd := &cobra.Command{Use: "token", Short: "Make launch tokens"}
	cmd.AddCommand(tokenCreate())
	return cmd
}

func tokenCreate() *cobra.Command {
	var (
		key, router  string
		launch       ticket.Launch
		ttl          time.Duration
		params, meta []string
	)
	cmd := &cobra.Command{
		Use:   "create",
		Short: "Sign a launch token, or a link that plays",
		Long: `Sign a launch token with a private key that nearcast key create made, and print it.
It needs no network. Send it with POST /v1/sessions as Authorization: Bearer, or give
--url and get a link that plays.

Anybody who has the token can launch with it until it expires, as often as they
like: limit it with --origin and --max-sessions. This command is for trying things
out; a customer's server makes tokens itself (docs/API.md).`,
		Example: `  nearcast token create --key shop.launch-key.pem --app cad-viewer --subject ada --url https://play.example
  nearcast token create --key shop.launch-key.pem --app cad-viewer --subject ada --max-sessions 1 \
    --max-duration 30m --origin https://shop.example --residency eu --param model=bridge --meta order=4711`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			private, err := ticket.LoadLaunchKey(key)
			if err != nil {
				return fmt.Errorf("--key: %w", err)
			}
			if ttl <= 0 || ttl > ticket.LaunchTTL {
				return fmt.Errorf("--ttl has to be at most %s, not %s", ticket.LaunchTTL, ttl)
			}
			launch.Issued = time.Now().Truncate(time.Second)
			launch.Expires = launch.Issued.Add(ttl)
			if launch.Params, err = pairs("--param", params); err != nil {
				return err
			}
			if launch.Meta, err = pairs("--meta", meta); err != nil {
				return err
			}
			link := ""
			if router != "" {
				if link, err = playLink(router, launch.Apps); err != nil {
					return err
				}
			}
			token, err := launch.Sign(private)
			if err != nil {
				return err
			}
			if link != "" {
				token = link + token
			}
			fmt.Fprintln(cmd.OutOrStdout(), token)
			return nil
		},
	}
	flags := cmd.Flags()
	flags.StringVar(&key, "key", "", "file with the private key (required)")
	flags.StringSliceVar(&launch.Apps, "app", nil, "app that may be launched; can be repeated (required)")
	flags.StringVar(&launch.Subject, "subject", "", "your own name of the person; their sessions are counted by it")
	flags.DurationVar(&ttl, "ttl", 10*time.Minute, "how long the token is good, at most 15m")
	flags.StringArrayVar(&params, "param", nil, "name=value of a parameter of the app; can be repeated")
	flags.IntVar(&launch.MaxSessions, "max-sessions", 0, "sessions that the subject may have at once; 0 is no limit")
	flags.DurationVar(&launch.MaxDuration, "max-duration", 0, "how long the session may last; 0 leaves it to the app")
	flags.StringSliceVar(&launch.Origins, "origin", nil, "origin whose pages may use the token, https://host; can be repeated (default any)")
	flags.StringSliceVar(&launch.Sites, "site", nil, "site at which the session may run; can be repeated (default any)")
	flags.StringSliceVar(&launch.Residency, "residency", nil, "jurisdiction in which the session may run; can be repeated (default any)")
	flags.StringArrayVar(&meta, "meta", nil, "name=value to find again in events; can be repeated")
	flags.StringVar(&router, "url", "", "URL of a router: print the link that plays, in place of the token")
	for _, name := range []string{"key", "app"} {
		if err := cmd.MarkFlagRequired(name); err != nil {
			panic(err) // there is no such flag: a mistake in this file
		}
	}
	return cmd
}

// playLink is a link to the player, to which a token is appended: as the fragment,
// which browsers send to nobody.
func playLink(router string, apps []string) (string, error) {
	u, err := url.Parse(router)
	if err != nil || u.Scheme != "https" && u.Scheme != "http" || u.Host == "" || strings.Trim(u.Path, "/") != "" {
		return "", fmt.Errorf("--url has to be the URL of a router, https://host[:port], not %q", router)
	}
	if len(apps) != 1 {
		return "", errors.New("--url is for one app; give --app once")
	}
	return u.Scheme + "://" + u.Host + "/play/" + url.PathEscape(apps[0]) + "#token=", nil
}

func pairs(flag string, list []string) (map[string]string, error) {
	if len(list) == 0 {
		return nil, nil
	}
	out := make(map[string]string, len(list))
	for _, text := range list {
		name, value, ok := strings.Cut(text, "=")
		if !ok || name == "" {
			return nil, fmt.Errorf("%s has to have the form name=value, not %q", flag, text)
		}
		if _, twice := out[name]; twice {
			return nil, fmt.Errorf("%s %s is given twice", flag, name)
		}
		out[name] = value
	}
	return out, nil
}
