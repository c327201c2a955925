// Package fleet is how the parts of Nearcast find each other: the adapter to
// Consul, and the only package that imports its client.
//
// What is kept where, and for how long:
//
//	nodes, routers, brains   catalog services with a TTL check of 10 s,
//	                         refreshed every 3 s, removed a minute after it ran out,
//	                         nodes after twelve hours
//	apps with capacity       KV below wire.AppsPrefix
//	what operators register  KV below wire.LaunchKeysPrefix, APIKeysPrefix, WebhooksPrefix
//	how webhooks go          KV below wire.WebhookStatesPrefix
//	used tickets             KV below wire.TicketsPrefix, created by check-and-set
//	what a site is           KV wire.SiteKey
//	locks                    KV held by a session of 10 s TTL
//
// Registrations and watches outlive the Consul agent: it may be killed and
// restarted at any moment, also without its data. A registration notices that
// and registers again; a watch keeps what it knew, reports that it is stale, and
// starts over. Set never waits for Consul, and Close two seconds at most.
//
//	f, err := fleet.Open(fleet.Config{Address: "127.0.0.1:8500"})
//	reg, err := f.RegisterInstance(ctx, wire.BrainService, me) // returns at once
//	defer reg.Close()
//
//	node := f.RegisterNode(ctx, id, me)
//	node.Set(now)                         // the load is written when its class changes
//
//	w := f.WatchNodes(ctx, func(nodes []wire.Node) { … })
//	if w.Stale() { … }                    // Consul has not answered since w.LastSuccess()
//
// Other sites are read through the local agent, by At(site). Each watch holds a
// connection to it, so other sites are not watched, but read now and then.
package fleet

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"time"

	"github.com/hashicorp/consul/api"
)

// How soon Consul notices that a process is gone.
const (
	checkTTL   = 10 * time.Second
	heartbeat  = 3 * time.Second
	deregister = time.Minute // the least that Consul takes
)

// Config says how to reach the local Consul agent.
type Config struct {
	// Address is host:port or a URL; empty is 127.0.0.1:8500.
	Address string
	Token   string
	// Log gets what an operator should know. nil is slog.Default().
	Log *slog.Logger
}

// Fleet is a connection to Consul. It may be used by many goroutines at once.
type Fleet struct {
	consul *api.Client
	site   string // of reads; empty is the agent's own datacenter
	log    *slog.Logger
	idle   interface{ CloseIdleConnections() }

	tickets *ticketWrites
}

// Open makes a Fleet. It does not connect yet, so that a process may start before
// its Consul agent.
func Open(cfg Config) (*Fleet, error) {
	if cfg.Address == "" {
		cfg.Address = "127.0.0.1:8500"
	}
	if cfg.Log == nil {
		cfg.Log = slog.Default()
	}
	// Not from api.DefaultConfig: it would read CONSUL_* from the environment,
	// and the caller's configuration would not be complete.
	transport := &http.Transport{
		DialContext:         (&net.Dialer{Timeout: 2 * time.Second, KeepAlive: 15 * time.Second}).DialContext,
		TLSHandshakeTimeout: 5 * time.Second,
		MaxIdleConnsPerHost: 8,
		IdleConnTimeout:     90 * time.Second,
	}
	consul, err := api.NewClient(&api.Config{Address: cfg.Address, Token: cfg.Token, Transport: transport})
	if err != nil {
		return nil, fmt.Errorf("open consul at %s: %w", cfg.Address, err)
	}
	f := &Fleet{consul: consul, log: cfg.Log, idle: transport}
	f.tickets = f.newTicketWrites()
	return f, nil
}

// Close closes idle connections. Watches and registrations end with their contexts.
func (f *Fleet) Close() { f.idle.CloseIdleConnections() }

// At reads from another site: a Fleet whose watches and queries ask the
// datacenter of that name, through the local agent. Registrations and locks
// always belong to the local agent.
func (f *Fleet) At(site string) *Fleet {
	other := *f
	other.site = site
	other.tickets = other.newTicketWrites()
	return &other
}

func (f *Fleet) query(ctx context.Context) *api.QueryOptions {
	return (&api.QueryOptions{Datacenter: f.site}).WithContext(ctx)
}

func (f *Fleet) write(ctx context.Context) *api.WriteOptions {
	return (&api.WriteOptions{Datacenter: f.site}).WithContext(ctx)
}

// backOff is the wait before attempt n (1, 2, …): doubling from 100 ms to most,
// with a quarter of jitter so that the processes of a site do not retry together.
func backOff(n int, most time.Duration) time.Duration {
	d := most
	if n < 16 {
		d = min(100*time.Millisecond<<(n-1), most)
	}
	return d - time.Duration(rand.Int64N(int64(d)/4+1))
}

// sleep waits for d or the end of ctx, and reports whether ctx goes on.
func sleep(ctx context.Context, d time.Duration) bool {
	t := time.NewTimer(d)
	defer t.Stop()
	select {
	case <-t.C:
		return true
	case <-ctx.Done():
		return false
	}
}

// missing reports whether Consul answered 404.
func missing(err error) bool {
	var status api.StatusError
	return errors.As(err, &status) && status.Code == http.StatusNotFound
}
