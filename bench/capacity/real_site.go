package main

import (
	"context"
	"crypto/tls"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"os"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// check is what has gone wrong.
func (l *live) check() (err error) {
	l.mu.Lock()
	err = l.failed
	l.mu.Unlock()
	for _, s := range l.servers {
		err = errors.Join(err, s.alive())
	}
	for _, g := range l.groups {
		g.mu.Lock()
		err = errors.Join(err, g.failed)
		g.mu.Unlock()
		g.crowd.mu.Lock()
		err = errors.Join(err, errors.Join(g.crowd.failures...))
		g.crowd.mu.Unlock()
	}
	return err
}

// start starts all, with some nodes of each group.
func (l *live) start(ctx context.Context, nodes int) error {
	if err := errors.Join(l.startConsul(ctx), l.startNomad(ctx)); err != nil {
		return err
	}
	aws, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	l.aws = "http://" + aws.Addr().String()
	l.serve(ctx, aws, http.HandlerFunc(l.serveAWS))
	for _, name := range []string{"people", "headroom"} {
		if err := l.registerJob(ctx, name); err != nil {
			return err
		}
		first := nodes
		if l.zero && name == "people" {
			first = 0
		}
		l.groups = append(l.groups, &group{live: l, name: name, max: l.max, crowd: newCrowd(l, name), first: first})
	}
	if err := l.follow(ctx); err != nil {
		return err
	}
	for _, g := range l.groups {
		g.mu.Lock()
		g.want(ctx, g.first, 0)
		g.mu.Unlock()
	}
	err = wait(ctx, time.Minute, "the first nodes are ready", func() error {
		for _, g := range l.groups {
			g.mu.Lock()
			n := len(g.readyIn)
			g.mu.Unlock()
			if n < g.first {
				return errors.Join(fmt.Errorf("%d of %d nodes of %s", n, g.first, g.name), l.check())
			}
		}
		return nil
	})
	if err != nil {
		return err
	}
	for _, g := range l.groups {
		g.mu.Lock()
		g.readyIn = nil
		g.mu.Unlock()
	}
	return errors.Join(l.startBrain(ctx), l.startAutoscaler())
}

// serve serves until the replay ends.
func (l *live) serve(ctx context.Context, on net.Listener, handler http.Handler) {
	s := &http.Server{Handler: handler, ReadHeaderTimeout: time.Minute, ErrorLog: slog.NewLogLogger(slog.DiscardHandler, slog.LevelError)}
	l.all.Go(func() { s.Serve(on) })
	context.AfterFunc(ctx, func() { s.Close() })
}

// startBrain serves what a brain's internal listener serves to the autoscaler: over mutual TLS,
// found through Consul, for nobody else.
func (l *live) startBrain(ctx context.Context) error {
	f, err := fleet.Open(fleet.Config{Address: l.consul, Log: l.quiet})
	if err != nil {
		return err
	}
	me, err := identity.New()
	if err != nil {
		return err
	}
	on, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	mux := http.NewServeMux()
	mux.HandleFunc("GET "+wire.DemandPath, func(w http.ResponseWriter, _ *http.Request) {
		for _, g := range l.groups {
			if g.name == "people" {
				encode(w, wire.Demand{Site: "site", Brain: "replay", Known: true, Apps: []wire.AppDemand{g.crowd.demand()}})
			}
		}
	})
	// No seat is idle here, so there is none to retire.
	mux.HandleFunc("POST "+wire.SparePath, func(w http.ResponseWriter, r *http.Request) {
		var said wire.Spare
		if json.NewDecoder(r.Body).Decode(&said) != nil {
			http.Error(w, "no spare", http.StatusBadRequest)
			return
		}
		w.WriteHeader(http.StatusNoContent)
	})
	mux.HandleFunc("POST "+wire.GrowthPath, func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) })
	l.serve(ctx, tls.NewListener(on, me.Open()), identity.Only(mux, f.Peers(wire.AutoscalerService), wire.AutoscalerService))
	address := on.Addr().String()
	record, err := f.RegisterInstance(ctx, wire.BrainService, wire.Instance{ID: "replay", Site: "site", URL: "wss://replay.example/v1/connect",
		Address: address, Internal: address, Key: me.Key(), Healthy: true})
	if err != nil {
		return err
	}
	context.AfterFunc(ctx, func() { record.Close(); f.Close() })
	return nil
}

// end ends everything: first the seats, as an agent that ends leaves its tasks running.
func (l *live) end(stop func()) {
	late, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	if len(l.servers) > 2 {
		l.servers[len(l.servers)-1].end() // the autoscaler
	}
	if l.nomad != nil {
		// A seat may be placed while others end. What does not end in time, because the machine is busy, is
		// killed below.
		wait(late, 30*time.Second, "all seats have ended", func() error {
			allocs, _, err := l.nomad.Allocations().List(&api.QueryOptions{Namespace: "*", Filter: `ClientStatus == "running" or ClientStatus == "pending"`})
			for _, a := range allocs {
				l.nomad.Jobs().Deregister(a.JobID, false, &api.WriteOptions{Namespace: a.Namespace})
				err = fmt.Errorf("%d run", len(allocs))
			}
			return err
		})
	}
	stop()
	l.all.Wait()
	for _, s := range l.servers {
		s.end()
	}
	killRemaining(l.dir)
	if err := testkit.Unmount(l.dir); err != nil {
		fmt.Fprintln(os.Stderr, "bench-capacity:", err)
	}
}
