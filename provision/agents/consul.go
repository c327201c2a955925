package agents

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net/http"
	"net/url"
	"strings"
)

// Consul is this node's Consul agent.
type Consul struct {
	Address string // 127.0.0.1:8500
	Token   string // the agent's own
}

// Joined returns an error unless the agent's site has a leader, and its catalog has this
// node.
func (c Consul) Joined(ctx context.Context, node string) error {
	var leader string
	if err := c.get(ctx, "/v1/status/leader", c.Token, &leader); err != nil {
		return err
	}
	if leader == "" {
		return errors.New("the site's Consul has no leader")
	}
	var found *struct{ Node struct{ Node string } }
	if err := c.get(ctx, "/v1/catalog/node/"+url.PathEscape(node), c.Token, &found); err != nil {
		return err
	}
	if found == nil {
		return fmt.Errorf("the catalog of Consul has no node %s yet", node)
	}
	return nil
}

// Alive returns an error if the agent itself does not answer. It asks no server.
func (c Consul) Alive(ctx context.Context) error {
	_, err := answers(ctx, "http://"+c.Address+"/")
	return err
}

// Led returns an error unless the agent's servers have a leader.
func (c Consul) Led(ctx context.Context) error { return led(ctx, "Consul", "http://"+c.Address) }

// Voter returns an error unless Consul's servers count this one as a healthy voter. token
// is a management token.
func (c Consul) Voter(ctx context.Context, token, node string) error {
	var health struct {
		Servers []struct {
			Name           string
			Healthy, Voter bool
		}
	}
	if err := c.get(ctx, "/v1/operator/autopilot/health", token, &health); err != nil {
		return err
	}
	for _, server := range health.Servers {
		if server.Name == node {
			return voter("Consul", server.Healthy, server.Voter)
		}
	}
	return errors.New("the servers of Consul do not know this one yet")
}

func voter(of string, healthy, voter bool) error {
	switch {
	case !healthy:
		return fmt.Errorf("%s's servers find this one unhealthy", of)
	case !voter:
		return fmt.Errorf("%s's servers give this one no vote yet", of)
	}
	return nil
}

// Leave takes the node out of its site.
func (c Consul) Leave(ctx context.Context) error {
	return c.do(ctx, http.MethodPut, "/v1/agent/leave", c.Token, nil, nil)
}

// Show writes into the site's catalog what the agent shows of the node. The agent does so by
// itself, but only at its start and every few minutes, so not after a reload. It returns an error
// while the agent shows another value of that name: it has not read its configuration yet.
func (c Consul) Show(ctx context.Context, node, name, value string) error {
	var self struct{ Meta map[string]string }
	if err := c.get(ctx, "/v1/agent/self", c.Token, &self); err != nil {
		return err
	}
	if has := self.Meta[name]; has != value {
		return fmt.Errorf("the agent of Consul shows %s as %q and not as %q: it has not read its configuration yet", name, has, value)
	}
	var found *struct {
		Node struct {
			ID, Node, Address string
			TaggedAddresses   map[string]string
			Meta              map[string]string
		}
	}
	if err := c.get(ctx, "/v1/catalog/node/"+url.PathEscape(node), c.Token, &found); err != nil {
		return err
	}
	if found == nil {
		return fmt.Errorf("the catalog of Consul has no node %s yet", node)
	}
	if maps.Equal(found.Node.Meta, self.Meta) {
		return nil
	}
	return c.do(ctx, http.MethodPut, "/v1/catalog/register", c.Token, map[string]any{
		"ID": found.Node.ID, "Node": found.Node.Node, "Address": found.Node.Address, "TaggedAddresses": found.Node.TaggedAddresses, "NodeMeta": self.Meta,
	}, nil)
}

func (c Consul) get(ctx context.Context, path, token string, into any) error {
	return c.do(ctx, http.MethodGet, path, token, nil, into)
}

func (c Consul) do(ctx context.Context, method, path, token string, body, into any) error {
	var send io.Reader
	if body != nil {
		text, err := json.Marshal(body)
		if err != nil {
			return err
		}
		send = bytes.NewReader(text)
	}
	req, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, send)
	if err != nil {
		return err
	}
	req.Header.Set("X-Consul-Token", token)
	client := http.Client{Transport: &http.Transport{DisableKeepAlives: true, Proxy: nil}}
	res, err := client.Do(req)
	if err != nil {
		return fmt.Errorf("ask Consul: %w", err)
	}
	defer res.Body.Close()
	text, err := io.ReadAll(io.LimitReader(res.Body, 1<<20))
	if err != nil {
		return fmt.Errorf("ask Consul: %w", err)
	}
	// Consul answers 429 when a server is not healthy, and says which.
	if res.StatusCode != http.StatusOK && res.StatusCode != http.StatusTooManyRequests {
		return fmt.Errorf("ask Consul: %s %s answers %s: %s", method, path, res.Status, strings.TrimSpace(string(text[:min(len(text), 1000)])))
	}
	if into == nil {
		return nil
	}
	if err := json.Unmarshal(text, into); err != nil {
		return fmt.Errorf("ask Consul: %s %s: %w", method, path, err)
	}
	return nil
}
