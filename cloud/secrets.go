package cloud

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"fmt"
	"maps"
)

// Nomad's variables of the platform's jobs. The servers of a site write the ticket keys
// (provision/acl.sh); these commands add what an operator would.
const (
	routerVariable = "nomad/jobs/router"
	brainVariable  = "nomad/jobs/brain"
	turnVariable   = "nomad/jobs/turn"
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

// operatorToken gives all sites the same token for operators, by which routers let them list and
// end sessions. It makes one where no site has one.
func (c *Cluster) operatorToken(ctx context.Context, sites []Site) (changed bool, err error) {
	token, from := "", ""
	for _, site := range c.Outputs.Sites {
		items, _, err := c.Reach(site.Name).Nomad.Variable(ctx, routerVariable)
		if err != nil && !contains(sites, site.Name) {
			continue // it is not this run's
		}
		if err != nil {
			return false, fmt.Errorf("%s: %w", site.Name, err)
		}
		switch has := items["operator_token"]; {
		case has == "" || has == token:
		case token != "":
			return false, fmt.Errorf("the operator's token at %s differs from that at %s: routers pass it on, so write the same into %s at both", site.Name, from, routerVariable)
		default:
			token, from = has, site.Name
		}
	}
	if token == "" {
		token = newSecret()
	}
	for _, site := range sites {
		did, err := put(ctx, c.Reach(site.Name).Nomad, routerVariable, "operator_token", token)
		if err != nil {
			return changed, fmt.Errorf("%s: the operator's token: %w", site.Name, err)
		}
		if did {
			changed = true
			c.say(site.Name + ": the routers know the operator's token (nomad var get -item=operator_token " + routerVariable + ")")
		}
	}
	return changed, nil
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

func contains(sites []Site, name string) bool {
	for _, s := range sites {
		if s.Name == name {
			return true
		}
	}
	return false
}
