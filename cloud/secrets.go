package cloud

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// Nomad's variables of the platform's jobs. The servers of a site write the ticket keys
// (provision/acl.sh); these commands add what an operator would.
const (
	routerVariable = "nomad/jobs/router"
	brainVariable  = "nomad/jobs/brain"
	turnVariable   = "nomad/jobs/turn"

	consoleVariable = "nomad/jobs/console"
)

func newSecret() string {
	var secret [32]byte
	rand.Read(secret[:]) // never fails
	return hex.EncodeToString(secret[:])
}

// put sets one item of a variable to the value, and reports whether that was a change.
func put(ctx context.Context, nomad Nomad, path, item, value string) (bool, error) {
	items, index, err := nomad.Variable(ctx, path)
	if err != nil {
		return false, err
	}
	if items[item] == value {
		return false, nil
	}
	changed := map[string]string{}
	maps.Copy(changed, items)
	changed[item] = value
	if err := nomad.PutVariable(ctx, path, changed, index); err != nil {
		return false, fmt.Errorf("write %s: %w", path, err)
	}
	return true, nil
}

// operatorToken is the token for operators, by which routers let them list and end sessions: the
// same at all sites. The first site that is ready takes the one that another site has, or makes it.
type operatorToken struct {
	c  *Cluster
	mu sync.Mutex
	// token is empty until it is known, from is a site that has it.
	token, from string
}

// give writes the token at a site, and reports whether that was a change.
func (o *operatorToken) give(ctx context.Context, site Site) (changed bool, err error) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.token == "" {
		if err := o.c.until(ctx, site.Name, "the operators' token", o.find); err != nil {
			return false, err
		}
	}
	nomad := o.c.Reach(site.Name).Nomad
	items, _, err := nomad.Variable(ctx, routerVariable)
	if err != nil {
		return false, err
	}
	if has := items["operator_token"]; has != "" && has != o.token {
		return false, differ(site.Name, o.from)
	}
	if changed, err = put(ctx, nomad, routerVariable, "operator_token", o.token); err != nil {
		return changed, fmt.Errorf("the operators' token: %w", err)
	}
	if changed {
		o.c.say(site.Name + ": the routers know the operators' token (nomad var get -item=operator_token " + routerVariable + ")")
	}
	return changed, nil
}

// find asks all sites for the token. It makes one where none has it; but not while the primary
// site, which has it in any case, does not answer.
func (o *operatorToken) find(ctx context.Context) (missing string, err error) {
	has := map[string]string{}
	var mu sync.Mutex
	silent := map[string]error{}
	o.c.each(o.c.Outputs.Sites, func(site Site) error {
		items, _, err := o.c.Reach(site.Name).Nomad.Variable(ctx, routerVariable)
		mu.Lock()
		defer mu.Unlock()
		has[site.Name], silent[site.Name] = items["operator_token"], err
		return nil
	})
	token, from := "", ""
	for _, name := range o.c.Outputs.Names() {
		switch {
		case has[name] == "" || has[name] == token:
		case token != "":
			return "", stop{differ(name, from)}
		default:
			token, from = has[name], name
		}
	}
	if primary := o.c.Outputs.Primary().Name; token == "" && silent[primary] != nil {
		return fmt.Sprintf("no other site has it, and %s does not answer: %v", primary, silent[primary]), nil
	}
	if token == "" {
		token, from = newSecret(), "this command"
	}
	o.token, o.from = token, from
	return "", nil
}

func differ(one, other string) error {
	return fmt.Errorf("the operators' token at %s differs from that at %s: routers pass it on, so write the same into %s at all sites", one, other, routerVariable)
}

// missingRights says what an operator has to make before a job can run.
func missingRights(ctx context.Context, nomad Nomad, job Job) (string, error) {
	if job.prefetches() {
		// Servers of one site give the namespace to all, so it says nothing of this site's nodes.
		has, err := nomad.HasNamespace(ctx, wire.FetchNamespace)
		if err == nil && !has {
			return "prefetch: the site has the access control of an earlier release: Nomad has no namespace " + wire.FetchNamespace + ". The other jobs run. " +
				"Update all nodes (nearcast cloud roll), then run the command again. The setting prefetch.every=0 turns the job off", nil
		}
		return "", err
	}
	if job.Name != consoleJob {
		return "", nil
	}
	items, _, err := nomad.Variable(ctx, consoleVariable)
	if err == nil && items["token"] == "" && items["oidc_client_secret"] == "" {
		return "console: nobody could log in: " + consoleVariable + " has neither token nor oidc_client_secret. docs/CONSOLE-SETUP.md says how to make them; then run the command again", nil
	}
	return "", err
}

// turnSecret gives TURN servers and brains of a site the same secret. The servers have it first.
func (c *Cluster) turnSecret(ctx context.Context, site Site) (changed bool, err error) {
	if len(site.TURNURLs) == 0 {
		return false, nil
	}
	nomad := c.Reach(site.Name).Nomad
	items, _, err := nomad.Variable(ctx, turnVariable)
	if err != nil {
		return false, fmt.Errorf("the secret of TURN: %w", err)
	}
	secret := items["secret"]
	if secret == "" {
		secret = newSecret()
	}
	for _, at := range []struct{ path, item string }{{turnVariable, "secret"}, {brainVariable, "turn_secret"}} {
		did, err := put(ctx, nomad, at.path, at.item, secret)
		if err != nil {
			return changed, fmt.Errorf("the secret of TURN: %w", err)
		}
		changed = changed || did
	}
	if changed {
		c.say(site.Name + ": TURN servers and brains have a secret")
	}
	return changed, nil
}

// missingKeys says what the site's servers have not written yet.
func missingKeys(ctx context.Context, nomad Nomad) (string, error) {
	for _, at := range [][2]string{{routerVariable, "ticket_key"}, {brainVariable, "ticket_keys"}} {
		items, _, err := nomad.Variable(ctx, at[0])
		if err != nil {
			return "", err
		}
		if items[at[1]] == "" {
			return fmt.Sprintf("the servers have not written %s yet (on a server: systemctl status nearcast-acl)", at[0]), nil
		}
	}
	return "", nil
}
