package main

import (
	"context"
	"fmt"
	"log/slog"
	"net/http"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/identity"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// plan says what a site is made of.
type plan struct {
	brains, routers int
	apps            int
	seats           int           // in all, spread over nodes of seatsPerNode and over the apps
	dead            int           // children at Nomad that have served
	lease, start    time.Duration // see seats
	measured        time.Duration // how often nodes tell what their seats measured; 0: wire.MeasuredEvery
}

// site is a site on this machine: real Consul, brains and routers; nodes and Nomad as the
// benchmark plays them.
type site struct {
	plan
	ctx      context.Context
	stop     context.CancelFunc
	dir      string
	consul   *consul
	nomad    *fakeNomad
	fleet    *fleet.Fleet
	seats    *seats
	feeds    *feeds
	brains   []*server
	routers  []*server
	signer   *ticket.Signer
	verifier *ticket.Verifier
	outside  *http.Transport
	me       *identity.Identity // of the benchmark as a router, which may ask brains for sessions
	ask      *identity.Clients
	closers  []func()
	people   sync.WaitGroup
	came     int // people so far
}

// appName is the name of an app.
func appName(i int) string { return fmt.Sprintf("app-%03d", i) }

// open starts a site and waits until its brains know all seats.
func open(ctx context.Context, bin string, p plan) (_ *site, err error) {
	began := time.Now()
	if p.measured == 0 {
		p.measured = wire.MeasuredEvery
	}
	s := &site{plan: p, outside: newOutside()}
	s.ctx, s.stop = context.WithCancel(ctx)
	defer func() {
		if err != nil {
			err = fmt.Errorf("start a site of %d seats: %w", p.seats, err)
			s.close()
		}
	}()
	if s.dir, err = os.MkdirTemp("", "ncsite-"); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = os.RemoveAll(s.dir) })
	if err := ticket.GenerateKeys(s.dir); err != nil {
		return nil, err
	}
	if s.signer, err = ticket.LoadSigner(filepath.Join(s.dir, ticket.PrivateKeyFile), "bench"); err != nil {
		return nil, err
	}
	if s.verifier, err = ticket.LoadVerifier(filepath.Join(s.dir, ticket.PublicKeysFile)); err != nil {
		return nil, err
	}
	quiet := slog.New(slog.DiscardHandler)
	if s.consul, err = startConsul(s.ctx, s.dir); err != nil {
		return nil, err
	}
	if s.fleet, err = fleet.Open(fleet.Config{Address: s.consul.address, Log: quiet}); err != nil {
		return nil, err
	}
	s.closers = append(s.closers, s.fleet.Close)
	if err := s.asRouter(); err != nil {
		return nil, err
	}
	if err := s.makeSeats(); err != nil {
		return nil, err
	}
	address, server, err := s.nomad.serve()
	if err != nil {
		return nil, err
	}
	s.closers = append(s.closers, func() { _ = server.Close() })
	if s.feeds, err = startFeeds(s); err != nil {
		return nil, err
	}
	if err := s.fill(); err != nil {
		return nil, err
	}
	for i := range p.brains {
		if err := s.startBrain(bin, i, address); err != nil {
			return nil, err
		}
	}
	for i := range p.routers {
		if err := s.startRouter(bin, i); err != nil {
			return nil, err
		}
	}
	if err := s.ready(); err != nil {
		return nil, err
	}
	say("a site with %d seats of %d apps on %d nodes, %d brains and %d routers is up after %s",
		p.seats, p.apps, len(s.seats.nodes), p.brains, p.routers, time.Since(began).Round(100*time.Millisecond))
	return s, nil
}

// makeSeats makes nodes with empty places.
func (s *site) makeSeats() error {
	s.nomad = newNomad()
	f := &seats{ctx: s.ctx, nomad: s.nomad, peers: s.fleet.Peers(wire.BrainService), lease: s.lease, start: s.start,
		byID: map[string]*seat{}, holds: map[string]*seat{}}
	s.seats = f
	s.nomad.place = f.place
	s.nomad.ended = func(id string) {
		f.mu.Lock()
		one := f.byID[id]
		f.mu.Unlock()
		if one != nil {
			one.mu.Lock()
			session := one.session
			one.mu.Unlock()
			f.end(one, session)
		}
	}
	if err := f.listen(); err != nil {
		return err
	}
	s.closers = append(s.closers, func() { _ = f.server.Close() })
	for i := range s.plan.seats {
		if i%seatsPerNode == 0 {
			me, err := identity.New()
			if err != nil {
				return err
			}
			f.nodes = append(f.nodes, &node{name: fmt.Sprintf("node-%03d", len(f.nodes)), me: me})
		}
		n := f.nodes[len(f.nodes)-1]
		one := &seat{number: i, node: n, address: addressOf(i, f.port), state: wire.SeatEnding}
		n.seats = append(n.seats, one)
		f.all = append(f.all, one)
	}
	return nil
}

// fill makes the apps, an idle seat in each place, and the children that are dead.
func (s *site) fill() error {
	for i := range s.apps {
		s.nomad.app(appName(i), (s.plan.seats+s.apps-1-i)/s.apps)
	}
	for i, one := range s.seats.all {
		app := appName(i % s.apps)
		child, id := s.nomad.child(app, one.node.name, false)
		s.seats.occupy(one, id, child, app, wire.SeatIdle)
	}
	for i := range s.dead {
		s.nomad.child(appName(i%s.apps), s.seats.nodes[i%len(s.seats.nodes)].name, true)
	}
	return nil
}

// asRouter registers the benchmark as a router that nobody is sent to.
func (s *site) asRouter() (err error) {
	if s.me, err = identity.New(); err != nil {
		return err
	}
	s.ask = s.me.Clients(5 * time.Second)
	s.closers = append(s.closers, s.ask.Close)
	return s.consul.registerNode(s.ctx, "bench", "127.0.0.1", service{ID: "nearcast-router-bench", Service: wire.RouterService, Address: "127.0.0.1", Port: 1,
		Meta: map[string]string{"instance": "bench", "site": siteName, "url": "http://127.0.0.1:1", "key": s.me.Key()}}, "critical")
}

// capacity looks at what is published of each app.
func (s *site) capacity(look func(app string, c wire.Capacity, seats int) error) error {
	for i := range s.apps {
		var app wire.App
		if found, err := s.consul.key(s.ctx, wire.AppsPrefix+appName(i), &app); err != nil || !found {
			return fmt.Errorf("%s is not published: %v", appName(i), err)
		}
		if err := look(app.ID, app.Capacity, (s.plan.seats+s.apps-1-i)/s.apps); err != nil {
			return err
		}
	}
	return nil
}

// brainFor is the URL of a brain for a person, another one than that which they lost.
func (s *site) brainFor(n int, lost string) string {
	for i := range s.brains {
		if b := s.brains[(n+i)%len(s.brains)]; b.url != lost {
			return b.url
		}
	}
	return lost
}

// processes are the brains' own.
func (s *site) processes() (out []*process) {
	for _, b := range s.brains {
		out = append(out, b.process)
	}
	return out
}

// close ends everything.
func (s *site) close() {
	s.stop()
	for _, n := range s.nodes() {
		n.setCut(false)
	}
	s.people.Wait()
	if s.feeds != nil {
		s.feeds.wait()
	}
	var all errgroup.Group
	for _, list := range [][]*server{s.brains, s.routers} {
		for _, one := range list {
			all.Go(func() error { one.kill(); return nil })
		}
	}
	_ = all.Wait()
	if s.consul != nil {
		s.consul.process.kill()
	}
	for i := len(s.closers) - 1; i >= 0; i-- {
		s.closers[i]()
	}
	s.outside.CloseIdleConnections()
}

func (s *site) nodes() []*node {
	if s.seats == nil {
		return nil
	}
	return s.seats.nodes
}
