package nomad

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/cloud"
)

var _ cloud.NomadSecrets = (*Site)(nil)

// HasToken implements cloud.NomadSecrets.
func (s *Site) HasToken(ctx context.Context, secret string) (bool, error) {
	token, err := s.self(ctx, secret)
	return token != nil, err
}

func (s *Site) self(ctx context.Context, secret string) (*api.ACLToken, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	q.AuthToken = secret
	token, _, err := s.api.ACLTokens().Self(q)
	if code := status(err); code == http.StatusForbidden || code == http.StatusNotFound {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("look a token up: %w", err)
	}
	return token, nil
}

// ManagementToken implements cloud.NomadSecrets. Nomad makes the secret itself, so the name finds
// the token of a run that was killed before it could keep it.
func (s *Site) ManagementToken(ctx context.Context, name string) (string, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	all, _, err := s.api.ACLTokens().List(q)
	if err != nil {
		return "", fmt.Errorf("list tokens: %w", err)
	}
	for _, stub := range all {
		if stub.Name == name {
			token, _, err := s.api.ACLTokens().Info(stub.AccessorID, q)
			if err != nil {
				return "", fmt.Errorf("read the token %s: %w", name, err)
			}
			return token.SecretID, nil
		}
	}
	w, cancel := s.write(ctx, "")
	defer cancel()
	token, _, err := s.api.ACLTokens().Create(&api.ACLToken{Name: name, Type: "management", Global: true}, w)
	if err != nil {
		return "", fmt.Errorf("make a management token: %w", err)
	}
	return token.SecretID, nil
}

// DropToken implements cloud.NomadSecrets.
func (s *Site) DropToken(ctx context.Context, secret, by string) error {
	token, err := s.self(ctx, secret)
	if err != nil || token == nil {
		return err
	}
	w, cancel := s.write(ctx, "")
	defer cancel()
	w.AuthToken = by
	if _, err := s.api.ACLTokens().Delete(token.AccessorID, w); err != nil {
		return fmt.Errorf("delete a token: %w", err)
	}
	return nil
}

// nodeMethod is what acl.sh calls the way in which nodes log in.
const nodeMethod = "nearcast-node"

// NodeKeys implements cloud.NomadSecrets.
func (s *Site) NodeKeys(ctx context.Context, keys []string) error {
	q, cancel := s.query(ctx, "")
	defer cancel()
	method, _, err := s.api.ACLAuthMethods().Get(nodeMethod, q)
	if err != nil {
		return fmt.Errorf("read how nodes log in: %w", err)
	}
	if method.Config == nil {
		return errors.New("read how nodes log in: Nomad says nothing of it")
	}
	method.Config.JWTValidationPubKeys = keys
	w, cancel := s.write(ctx, "")
	defer cancel()
	if _, _, err := s.api.ACLAuthMethods().Update(method, w); err != nil {
		return fmt.Errorf("write how nodes log in: %w", err)
	}
	return nil
}

// SeatsBefore implements cloud.NomadSecrets.
func (s *Site) SeatsBefore(ctx context.Context, at time.Time) (n int, err error) {
	q, cancel := s.query(ctx, "apps")
	defer cancel()
	allocs, _, err := s.api.Allocations().List(q)
	if status(err) == http.StatusNotFound {
		return 0, nil // no app was ever there
	}
	if err != nil {
		return 0, fmt.Errorf("list seats: %w", err)
	}
	for _, a := range allocs {
		if (a.ClientStatus == api.AllocClientStatusRunning || a.ClientStatus == api.AllocClientStatusPending) && time.Unix(0, a.CreateTime).Before(at) {
			n++
		}
	}
	return n, nil
}

// GossipKeys implements cloud.NomadSecrets: the servers of all sites are one pool.
func (s *Site) GossipKeys(ctx context.Context) (map[string]bool, error) {
	ring, err := s.keyring(ctx, "list", s.api.Agent().ListKeys)
	if err != nil {
		return nil, err
	}
	keys := map[string]bool{}
	for key, nodes := range ring.Keys {
		keys[key] = nodes == ring.NumNodes
	}
	return keys, nil
}

// InstallGossipKey implements cloud.NomadSecrets.
func (s *Site) InstallGossipKey(ctx context.Context, key string) error {
	_, err := s.keyring(ctx, "install", func() (*api.KeyringResponse, error) { return s.api.Agent().InstallKey(key) })
	return err
}

// UseGossipKey implements cloud.NomadSecrets.
func (s *Site) UseGossipKey(ctx context.Context, key string) error {
	_, err := s.keyring(ctx, "use", func() (*api.KeyringResponse, error) { return s.api.Agent().UseKey(key) })
	return err
}

// RemoveGossipKey implements cloud.NomadSecrets.
func (s *Site) RemoveGossipKey(ctx context.Context, key string) error {
	_, err := s.keyring(ctx, "remove", func() (*api.KeyringResponse, error) { return s.api.Agent().RemoveKey(key) })
	return err
}

// keyring bounds a call of the API, which takes no context.
func (s *Site) keyring(ctx context.Context, what string, call func() (*api.KeyringResponse, error)) (*api.KeyringResponse, error) {
	type answer struct {
		ring *api.KeyringResponse
		err  error
	}
	answers := make(chan answer, 1)
	go func() {
		ring, err := call()
		answers <- answer{ring, err}
	}()
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	select {
	case <-ctx.Done():
		return nil, fmt.Errorf("%s Nomad's gossip key: %w", what, ctx.Err())
	case a := <-answers:
		if a.err != nil {
			return nil, fmt.Errorf("%s Nomad's gossip key: %w", what, a.err)
		}
		return a.ring, nil
	}
}

// probePolicy is written for a moment. It allows nothing.
const probePolicy = "nearcast-authority-probe"

// OwnsAccess implements cloud.NomadSecrets. Where another region has the authority, the index of the write is
// of its log, and the copy has one of this region's.
func (s *Site) OwnsAccess(ctx context.Context) (owns bool, err error) {
	w, cancel := s.write(ctx, "")
	defer cancel()
	wrote, err := s.api.ACLPolicies().Upsert(&api.ACLPolicy{Name: probePolicy, Description: "Nearcast: which region is the authority?", Rules: `agent { policy = "deny" }`}, w)
	if err != nil {
		return false, fmt.Errorf("write a policy: %w", err)
	}
	q, cancel := s.query(ctx, "")
	defer cancel()
	have, _, err := s.api.ACLPolicies().Info(probePolicy, q)
	switch {
	case status(err) == http.StatusNotFound:
		err = nil
	case err != nil:
		err = fmt.Errorf("read a policy: %w", err)
	default:
		owns = have.ModifyIndex == wrote.LastIndex
	}
	if _, dropErr := s.api.ACLPolicies().Delete(probePolicy, w); dropErr != nil {
		err = errors.Join(err, fmt.Errorf("delete a policy: %w", dropErr))
	}
	return owns, err
}
