// Package nomad is the adapter of package cloud to Nomad's API, with an operator's token.
//
//	all, err := nomad.Open(nomad.Config{Address: "127.0.0.1:4646"})
//	servers, err := all.At("eu-central-1").Servers(ctx)
//
// One server answers for all sites: it forwards what is for another region.
package nomad

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/cloud"
)

// Config says how to reach Nomad.
type Config struct {
	Address string // host:port or a URL; empty means NOMAD_ADDR, else 127.0.0.1:4646
	Token   string // empty means NOMAD_TOKEN
}

// Nomad is the API of all sites.
type Nomad struct{ api *api.Client }

// callTimeout ends a call that is not answered.
const callTimeout = 15 * time.Second

// Open makes a Nomad. It does not connect yet.
func Open(cfg Config) (*Nomad, error) {
	c := api.DefaultConfig()
	if cfg.Address != "" {
		c.Address = cfg.Address
		if !strings.Contains(c.Address, "://") {
			c.Address = "http://" + c.Address
		}
	}
	if cfg.Token != "" {
		c.SecretID = cfg.Token
	}
	c.Region, c.Namespace = "", "" // At says the region, and each call the namespace
	client, err := api.NewClient(c)
	if err != nil {
		return nil, fmt.Errorf("open nomad at %s: %w", c.Address, err)
	}
	return &Nomad{client}, nil
}

// Close closes idle connections.
func (n *Nomad) Close() { n.api.Close() }

// Regions are the sites that the server sees.
func (n *Nomad) Regions(ctx context.Context) (regions []string, err error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	// Regions().List takes no context.
	_, err = n.api.Raw().Query("/v1/regions", &regions, (&api.QueryOptions{}).WithContext(ctx))
	if err != nil {
		return nil, fmt.Errorf("list regions: %w", err)
	}
	return regions, nil
}

// At is the API of a site.
func (n *Nomad) At(site string) *Site { return &Site{api: n.api, region: site} }

// Site implements cloud.Nomad.
type Site struct {
	api    *api.Client
	region string
}

var _ cloud.Nomad = (*Site)(nil)

func (s *Site) query(ctx context.Context, namespace string) (*api.QueryOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return (&api.QueryOptions{Region: s.region, Namespace: namespace}).WithContext(ctx), cancel
}

func (s *Site) write(ctx context.Context, namespace string) (*api.WriteOptions, context.CancelFunc) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	return (&api.WriteOptions{Region: s.region, Namespace: namespace}).WithContext(ctx), cancel
}

// HasNamespace implements cloud.Nomad.
func (s *Site) HasNamespace(ctx context.Context, name string) (bool, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	_, _, err := s.api.Namespaces().Info(name, q)
	if status(err) == http.StatusNotFound {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read the namespace %s: %w", name, err)
	}
	return true, nil
}

func status(err error) int {
	var answer api.UnexpectedResponseError
	if errors.As(err, &answer) {
		return answer.StatusCode()
	}
	return 0
}

// Servers implements cloud.Nomad.
func (s *Site) Servers(ctx context.Context) ([]cloud.Server, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	raft, err := s.api.Operator().RaftGetConfiguration(q)
	if err != nil {
		return nil, fmt.Errorf("ask Nomad for its servers: %w", err)
	}
	health, err := s.health(q)
	if err != nil {
		return nil, fmt.Errorf("ask Nomad how its servers are: %w", err)
	}
	var servers []cloud.Server
	for _, peer := range raft.Servers {
		server := cloud.Server{Name: peer.Node, Leader: peer.Leader, Voter: peer.Voter}
		for _, h := range health.Servers {
			if h.ID == peer.ID {
				server.Version, server.Healthy = h.Version, h.Healthy
			}
		}
		servers = append(servers, server)
	}
	return servers, nil
}

// health reads the answer also where its status says that a server is not well.
func (s *Site) health(q *api.QueryOptions) (*api.OperatorHealthReply, error) {
	health, _, err := s.api.Operator().AutopilotServerHealth(q)
	var answer api.UnexpectedResponseError
	if errors.As(err, &answer) && answer.StatusCode() == http.StatusTooManyRequests {
		health = new(api.OperatorHealthReply)
		err = json.Unmarshal([]byte(answer.Body()), health)
	}
	return health, err
}

// Nodes implements cloud.Nomad.
func (s *Site) Nodes(ctx context.Context) ([]cloud.Node, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	stubs, _, err := s.api.Nodes().List(q)
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	var nodes []cloud.Node
	for _, stub := range stubs {
		node := cloud.Node{
			ID: stub.ID, Name: stub.Name, Pool: stub.NodePool, Version: stub.Version, Status: stub.Status,
			Eligible: stub.SchedulingEligibility == api.NodeSchedulingEligible, Draining: stub.Drain,
			Sick: map[string]string{}, Stream: stub.Drivers["stream"] != nil && stub.Drivers["stream"].Detected,
		}
		for name, driver := range stub.Drivers {
			if driver.Detected && !driver.Healthy {
				node.Sick[name] = driver.HealthDescription
			}
		}
		nodes = append(nodes, node)
	}
	return nodes, nil
}

// ClockOffset implements cloud.Nomad. A node measures itself once a second, so the offset is
// right to about two seconds.
func (s *Site) ClockOffset(ctx context.Context, node string) (time.Duration, error) {
	q, cancel := s.query(ctx, "")
	defer cancel()
	asked := time.Now()
	var stats struct{ Timestamp int64 } // the client of the API leaves it out
	q.Params = map[string]string{"node_id": node}
	if _, err := s.api.Raw().Query("/v1/client/stats", &stats, q); err != nil {
		return 0, fmt.Errorf("ask node %s for its clock: %w", node, err)
	}
	if stats.Timestamp == 0 {
		return 0, fmt.Errorf("node %s has not measured itself yet", node)
	}
	answered := time.Now()
	said := time.Unix(0, stats.Timestamp)
	switch {
	case said.After(answered):
		return said.Sub(answered), nil
	case said.Before(asked.Add(-time.Second)):
		return said.Sub(asked.Add(-time.Second)), nil
	}
	return 0, nil
}

// Variable implements cloud.Nomad.
func (s *Site) Variable(ctx context.Context, path string) (map[string]string, uint64, error) {
	q, cancel := s.query(ctx, api.DefaultNamespace)
	defer cancel()
	v, _, err := s.api.Variables().Peek(path, q)
	if err != nil {
		return nil, 0, fmt.Errorf("read %s: %w", path, err)
	}
	if v == nil {
		return nil, 0, nil
	}
	return v.Items, v.ModifyIndex, nil
}

// PutVariable implements cloud.Nomad.
func (s *Site) PutVariable(ctx context.Context, path string, items map[string]string, index uint64) error {
	w, cancel := s.write(ctx, api.DefaultNamespace)
	defer cancel()
	v := &api.Variable{Namespace: api.DefaultNamespace, Path: path, Items: items, ModifyIndex: index}
	var err error
	if index == 0 {
		_, _, err = s.api.Variables().CheckedCreate(v, w)
	} else {
		_, _, err = s.api.Variables().CheckedUpdate(v, w)
	}
	if conflict := (api.ErrCASConflict{}); errors.As(err, &conflict) {
		return cloud.ErrChanged
	}
	return err
}
