package agents

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"os"
	"strings"
	"sync"
	"time"

	"github.com/hashicorp/nomad/api"
)

// AuthMethod is the name of the auth method by which nodes log in to Nomad with their
// signed statement; acl.sh creates it.
const AuthMethod = "nearcast-node"

// Nomad is this node's Nomad agent.
type Nomad struct {
	Address string // http://127.0.0.1:4646
	IDFile  string // the agent's file with the node's id: <data_dir>/client/client-id
	// Statement is the file with the node's signed statement; empty if ACLs are off.
	Statement string
	// Login keeps the token for who asks again and again; nil: each call logs in.
	Login *Login
}

// Login is a token of Nomad that is kept for half of its time: Nomad keeps each one until its end.
type Login struct {
	mu     sync.Mutex
	secret string
	until  time.Time
}

// token is what is kept, or what log in gives.
func (l *Login) token(login func() (*api.ACLToken, error)) (string, error) {
	if l == nil {
		l = &Login{}
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	if now := time.Now(); !now.Before(l.until) {
		token, err := login()
		if err != nil {
			return "", err
		}
		l.secret, l.until = token.SecretID, time.Time{}
		if token.ExpirationTime != nil {
			l.until = now.Add(token.ExpirationTime.Sub(now) / 2)
		}
	}
	return l.secret, nil
}

// forget drops a token that Nomad refuses, as after a rotation or a restored backup.
func (l *Login) forget(err error) {
	refused := api.UnexpectedResponseError{}
	if l == nil || !errors.As(err, &refused) || refused.StatusCode() != http.StatusForbidden {
		return
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	l.until = time.Time{}
}

// open logs in. Without Login each call gets a new token, because a node runs longer than a token is
// valid.
func (n Nomad) open(ctx context.Context) (client *api.Client, id string, err error) {
	text, err := os.ReadFile(n.IDFile)
	if err != nil {
		return nil, "", fmt.Errorf("read the node's id: %w", err)
	}
	statement, err := os.ReadFile(n.Statement)
	if err != nil && n.Statement != "" {
		return nil, "", fmt.Errorf("log in to Nomad: %w", err)
	}
	// The environment does not count: it may be an operator's.
	if client, err = api.NewClient(&api.Config{Address: n.Address, TLSConfig: &api.TLSConfig{}}); err != nil {
		return nil, "", err
	}
	client.SetSecretID("")
	if n.Statement != "" {
		secret, err := n.Login.token(func() (*api.ACLToken, error) {
			token, _, err := client.ACLAuth().Login(&api.ACLLoginRequest{
				AuthMethodName: AuthMethod, LoginToken: strings.TrimSpace(string(statement)),
			}, (&api.WriteOptions{}).WithContext(ctx))
			return token, err
		})
		if err != nil {
			client.Close() // else each attempt would leave a connection
			return nil, "", fmt.Errorf("log in to Nomad: %w", err)
		}
		client.SetSecretID(secret)
	}
	return client, strings.TrimSpace(string(text)), nil
}

// Drain starts a drain, or gives the running one another deadline.
func (n Nomad) Drain(ctx context.Context, deadline time.Duration, why string) error {
	client, id, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	_, err = client.Nodes().UpdateDrainOpts(id, &api.DrainOptions{
		DrainSpec: &api.DrainSpec{Deadline: deadline}, Meta: map[string]string{"message": why},
	}, (&api.WriteOptions{}).WithContext(ctx))
	if err != nil {
		return fmt.Errorf("start the drain: %w", err)
	}
	return nil
}

// Drained returns when the drain is complete: Nomad removes it then.
func (n Nomad) Drained(ctx context.Context) error {
	client, id, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	options := &api.QueryOptions{WaitTime: time.Minute}
	for {
		node, meta, err := client.Nodes().Info(id, options.WithContext(ctx))
		if err != nil {
			return fmt.Errorf("watch the drain: %w", err)
		}
		if node.DrainStrategy == nil {
			if node.SchedulingEligibility != api.NodeSchedulingIneligible {
				return errors.New("the node was made eligible again during the drain")
			}
			return nil
		}
		options.WaitIndex = meta.LastIndex
	}
}

// ErrDriver means that Nomad knows this node, and that one of its drivers does not work.
var ErrDriver = errors.New("a driver of this node does not work")

// Ready returns an error that says why Nomad cannot give this node work: it does not know
// the node as ready, or one of the drivers is not healthy (ErrDriver).
func (n Nomad) Ready(ctx context.Context, drivers ...string) error {
	client, id, err := n.open(ctx)
	if err != nil {
		return err
	}
	defer client.Close()
	node, _, err := client.Nodes().Info(id, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		n.Login.forget(err)
		return fmt.Errorf("ask Nomad for this node: %w", err)
	}
	if node.Status != api.NodeStatusReady {
		return fmt.Errorf("Nomad says that the node is %s: %s", node.Status, node.StatusDescription)
	}
	for _, name := range drivers {
		switch driver := node.Drivers[name]; {
		case driver == nil || !driver.Detected:
			return driverError("Nomad does not find the driver " + name + " on this node")
		case !driver.Healthy:
			return driverError("the driver " + name + " is not healthy: " + driver.HealthDescription)
		}
	}
	return nil
}

// driverError is an ErrDriver with words of its own.
type driverError string

func (e driverError) Error() string        { return string(e) }
func (e driverError) Is(target error) bool { return target == ErrDriver }

// Alive returns an error if the agent itself does not answer. It asks no server.
func (n Nomad) Alive(ctx context.Context) error {
	_, err := answers(ctx, n.Address+"/v1/agent/health")
	return err
}

// Led returns an error unless the agent's servers have a leader.
func (n Nomad) Led(ctx context.Context) error { return led(ctx, "Nomad", n.Address) }

// Voter returns an error unless Nomad's servers count this one, by its name in Nomad, as a
// healthy voter. token is a management token.
func (n Nomad) Voter(ctx context.Context, token, name string) error {
	client, err := api.NewClient(&api.Config{Address: n.Address, SecretID: token, TLSConfig: &api.TLSConfig{}})
	if err != nil {
		return err
	}
	defer client.Close()
	var health struct {
		Servers []struct {
			Name           string
			Healthy, Voter bool
		}
	}
	_, err = client.Raw().Query("/v1/operator/autopilot/health", &health, (&api.QueryOptions{}).WithContext(ctx))
	// Nomad answers 429 when a server is not healthy, and says which.
	if sick := (api.UnexpectedResponseError{}); errors.As(err, &sick) && sick.StatusCode() == http.StatusTooManyRequests {
		err = json.Unmarshal([]byte(sick.Body()), &health)
	}
	if err != nil {
		return fmt.Errorf("ask Nomad for its servers' health: %w", err)
	}
	for _, server := range health.Servers {
		if server.Name == name {
			return voter("Nomad", server.Healthy, server.Voter)
		}
	}
	return errors.New("the servers of Nomad do not know this one yet")
}
