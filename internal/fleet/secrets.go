package fleet

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"github.com/hashicorp/consul/api"
)

// What an operator needs of Consul to give a cluster new secrets.

// Shown is what the agents' configuration, which provision writes, shows of each node of the site.
// Lost nodes are left out.
func (f *Fleet) Shown(ctx context.Context) (map[string]map[string]string, error) {
	nodes, _, err := f.consul.Catalog().Nodes(f.query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	lost, err := f.Lost(ctx)
	if err != nil {
		return nil, err
	}
	shown := map[string]map[string]string{}
	for _, n := range nodes {
		shown[n.Node] = n.Meta
	}
	for _, name := range lost {
		delete(shown, name)
	}
	return shown, nil
}

// unknownToken reports whether Consul knows no token of that secret.
func unknownToken(err error) bool {
	return err != nil && strings.Contains(err.Error(), "ACL not found")
}

func (f *Fleet) token(ctx context.Context, secret string) (*api.ACLToken, error) {
	q := f.query(ctx)
	q.Token = secret
	token, _, err := f.consul.ACL().TokenReadSelf(q)
	if unknownToken(err) {
		return nil, nil
	}
	return token, err
}

// HasToken reports whether the site knows a token.
func (f *Fleet) HasToken(ctx context.Context, secret string) (bool, error) {
	token, err := f.token(ctx, secret)
	if err != nil {
		return false, fmt.Errorf("look a token up: %w", err)
	}
	return token != nil, nil
}

// CopyToken makes a token with the rights of another one, if there is none with the secret.
func (f *Fleet) CopyToken(ctx context.Context, old, secret string) error {
	if has, err := f.HasToken(ctx, secret); has || err != nil {
		return err
	}
	from, err := f.token(ctx, old)
	if err != nil {
		return fmt.Errorf("look the old token up: %w", err)
	}
	if from == nil {
		return errors.New("the old token is unknown to Consul: are these the secrets of this cluster?")
	}
	_, _, err = f.consul.ACL().TokenCreate(&api.ACLToken{
		SecretID: secret, Description: from.Description, Policies: from.Policies, Roles: from.Roles,
		ServiceIdentities: from.ServiceIdentities, NodeIdentities: from.NodeIdentities,
	}, f.write(ctx))
	if err != nil {
		return fmt.Errorf("make a token: %w", err)
	}
	return nil
}

// DropToken deletes a token, if Consul knows it, by the right of another one: none deletes itself.
func (f *Fleet) DropToken(ctx context.Context, secret, by string) error {
	token, err := f.token(ctx, secret)
	if err != nil {
		return fmt.Errorf("look a token up: %w", err)
	}
	if token == nil {
		return nil
	}
	w := f.write(ctx)
	w.Token = by
	if _, err := f.consul.ACL().TokenDelete(token.AccessorID, w); err != nil && !unknownToken(err) {
		return fmt.Errorf("delete a token: %w", err)
	}
	return nil
}

// GossipKeys are the gossip keys of all sites: true where every agent has it.
func (f *Fleet) GossipKeys(ctx context.Context) (map[string]bool, error) {
	pools, err := f.consul.Operator().KeyringList((&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("list Consul's gossip keys: %w", err)
	}
	keys := map[string]int{}
	for _, pool := range pools {
		for key, nodes := range pool.Keys {
			if keys[key] += 0; nodes == pool.NumNodes {
				keys[key]++
			}
		}
	}
	all := map[string]bool{}
	for key, pooled := range keys {
		all[key] = pooled == len(pools)
	}
	return all, nil
}

// InstallGossipKey, UseGossipKey and RemoveGossipKey change the gossip keys of all sites.
func (f *Fleet) InstallGossipKey(ctx context.Context, key string) error {
	return f.keyring("install", f.consul.Operator().KeyringInstall(key, (&api.WriteOptions{}).WithContext(ctx)))
}

func (f *Fleet) UseGossipKey(ctx context.Context, key string) error {
	return f.keyring("use", f.consul.Operator().KeyringUse(key, (&api.WriteOptions{}).WithContext(ctx)))
}

func (f *Fleet) RemoveGossipKey(ctx context.Context, key string) error {
	return f.keyring("remove", f.consul.Operator().KeyringRemove(key, (&api.WriteOptions{}).WithContext(ctx)))
}

func (f *Fleet) keyring(what string, err error) error {
	if err != nil {
		return fmt.Errorf("%s Consul's gossip key: %w", what, err)
	}
	return nil
}
