package main

import (
	"fmt"
	"os"
	"strings"
	"time"

	"github.com/spf13/pflag"

	"github.com/nearcast/nearcast/router"
)

// loginFlags are the flags of "nearcast router" for apps with access = "login".
type loginFlags struct {
	issuer, clientID, secretFile string
	scopes                       []string
	claim                        string
	lasts                        time.Duration
	sessions                     int
}

func (f *loginFlags) add(flags *pflag.FlagSet) {
	flags.StringVar(&f.issuer, "oidc-issuer", "", "OpenID Connect provider, https://…, that knows the people of apps with access = \"login\"; it has to know <url>/login/callback (default none: such apps need a launch token)")
	flags.StringVar(&f.clientID, "oidc-client-id", "", "the routers' client id at the provider, the same at all sites")
	flags.StringVar(&f.secretFile, "oidc-client-secret-file", "", "file with the routers' client secret; an empty file is none")
	flags.StringSliceVar(&f.scopes, "oidc-scope", nil, "more scopes to ask for, such as groups; can be repeated")
	flags.StringVar(&f.claim, "oidc-claim", "groups", "claim of the ID token that has a person's groups")
	flags.DurationVar(&f.lasts, "login-lasts", router.DefaultLoginLasts, "how long a login lasts, 24h at most")
	flags.IntVar(&f.sessions, "login-sessions", router.DefaultLoginSessions, "how many sessions of one app a person who has logged in may have at once; 0: no limit")
}

func (f loginFlags) config() (router.LoginConfig, error) {
	var secret []byte
	if f.secretFile != "" {
		var err error
		if secret, err = os.ReadFile(f.secretFile); err != nil {
			return router.LoginConfig{}, fmt.Errorf("--oidc-client-secret-file: %w", err)
		}
	}
	if f.issuer != "" && f.clientID == "" {
		return router.LoginConfig{}, fmt.Errorf("--oidc-issuer needs --oidc-client-id: the client that the provider knows the routers by")
	}
	return router.LoginConfig{Issuer: f.issuer, ClientID: f.clientID, ClientSecret: strings.TrimSpace(string(secret)),
		Scopes: f.scopes, Claim: f.claim, Lasts: f.lasts, Sessions: f.sessions}, nil
}
