package dev

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/dev/netns"
	"github.com/nearcast/nearcast/dev/wan"
)

// Person is the name of the namespace of the person who uses a planet.
const Person = "person"

// DefaultPlace is where she sits until she is located elsewhere.
const DefaultPlace = "frankfurt"

// PlanetOptions say what to run and where.
type PlanetOptions struct {
	// Options are those of each site. Dir holds the whole planet; Ports are left
	// alone, since each site has an address of its own.
	Options
	// Sites are AWS regions, of Regions.
	Sites []string
	// Place is where the person sits at first; empty is DefaultPlace.
	Place string
	// Jitter and Loss are of the person's last mile: see wan.Path.
	Jitter time.Duration
	Loss   float64
}

// Planet is several sites and a person, each in a network namespace of its own,
// on a WAN.
//
//	planet, err := dev.StartPlanet(ctx, dev.PlanetOptions{
//		Options: dev.Options{Dir: dir, Bin: "bin", Apps: []string{"viewer"}},
//		Sites:   []string{"us-east-1", "eu-west-1", "ap-northeast-1"},
//	})
//	defer planet.Close()
//	err = planet.Locate("tokyo")
//	page := planet.URL() // http://198.18.5.10:7700, of the nearest site
//	// run a browser behind planet.Person().Prefix()
//	err = planet.Cut("ap-northeast-1", "")
//
// Each site has an object store of its own: a site that is cut from the others
// goes on to start seats, and content comes from nearby, as with replicated
// buckets. Ticket keys are the same everywhere.
type Planet struct {
	Dir string

	sites  []*Cluster // in the order of PlanetOptions.Sites
	wan    *wan.WAN
	spaces map[string]*netns.NS
	jitter time.Duration
	loss   float64

	tools   map[string]string
	logger  *slog.Logger
	control io.Closer
	unlock  func()

	saving  sync.Mutex
	mu      sync.Mutex
	place   string
	closing sync.Once
	closed  error
}

// StartPlanet brings a planet up. It returns when all sites serve and know each
// other; seats may still be starting, see WaitIdle. ctx bounds the start only.
// It needs root, and wan.Supported says what else.
func StartPlanet(ctx context.Context, o PlanetOptions) (_ *Planet, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Planet{spaces: make(map[string]*netns.NS), jitter: o.Jitter, loss: o.Loss, place: o.Place, logger: newLogger(o.Log)}
	if p.Dir, err = filepath.Abs(o.Dir); err != nil {
		return nil, err
	}
	o.Dir = p.Dir
	if o.Bin, err = filepath.Abs(o.Bin); err != nil {
		return nil, err
	}
	if err := os.MkdirAll(p.Dir, 0o755); err != nil {
		return nil, fmt.Errorf("make the planet's folder: %w", err)
	}
	if p.unlock, err = lockDir(p.Dir); errors.Is(err, errLocked) {
		return nil, ErrAlreadyRunning
	} else if err != nil {
		return nil, err
	}
	if err := p.up(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (o *PlanetOptions) check() error {
	if err := wan.Supported(); err != nil {
		return fmt.Errorf("a planet cannot run here: %w", err)
	}
	if len(o.Sites) == 0 {
		return fmt.Errorf("a planet needs sites, of: %s", strings.Join(Regions(), ", "))
	}
	for i, site := range o.Sites {
		if regionIndex(site) < 0 {
			return fmt.Errorf("no site %q; there are: %s", site, strings.Join(Regions(), ", "))
		}
		if slices.Contains(o.Sites[:i], site) {
			return fmt.Errorf("site %s is named twice", site)
		}
	}
	if o.Place == "" {
		o.Place = DefaultPlace
	}
	_, err := place(o.Place)
	return err
}

// hostOf is the address of a site, or of the person.
func hostOf(name string) netip.Addr {
	network := byte(0)
	if name != Person {
		network = byte(regionIndex(name) + 1)
	}
	return netip.AddrFrom4([4]byte{198, 18, network, 10})
}

func (p *Planet) up(ctx context.Context, o PlanetOptions) error {
	if err := sweepAll(ctx, p.Dir, runDir(p.Dir), p.logger); err != nil {
		return fmt.Errorf("end what an earlier run left: %w", err)
	}
	// From here on there is something that Down has to end.
	p.save()
	root, err := findRoot(o.Root, o.Bin)
	if err != nil {
		return err
	}
	// Once, or all sites would build them at the same time.
	if p.tools, err = Tools(ctx, root, orDiscard(o.Log)); err != nil {
		return err
	}
	if err := p.join(o.Sites); err != nil {
		return err
	}
	if err := p.serveControl(); err != nil {
		return err
	}
	starts, starting := errgroup.WithContext(ctx)
	p.sites = make([]*Cluster, len(o.Sites))
	for i, site := range o.Sites {
		options := o.Options
		options.Dir, options.Root, options.Ports = SiteDir(p.Dir, site), root, PortsFrom(DefaultPort)
		at := location{site: site, host: hostOf(site).String(), ns: p.spaces[site],
			keys: filepath.Join(p.Dir, "keys"), log: p.logger.With("site", site)}
		for _, other := range o.Sites {
			if other != site {
				at.peers = append(at.peers, hostOf(other).String())
			}
		}
		// The keys are made by whoever comes first, and so not by two at once.
		c, err := prepare(starting, options, at)
		if err != nil {
			return fmt.Errorf("site %s: %w", site, err)
		}
		p.mu.Lock()
		p.sites[i] = c
		p.mu.Unlock()
	}
	for _, c := range p.sites {
		starts.Go(func() error {
			if err := c.up(starting); err != nil {
				return fmt.Errorf("site %s: %w", c.Site, err)
			}
			return nil
		})
	}
	if err := starts.Wait(); err != nil {
		return err
	}
	p.save()
	return p.WaitFederated(ctx)
}

// join makes the namespaces and the WAN between them.
func (p *Planet) join(sites []string) (err error) {
	if err := os.MkdirAll(netnsDir(p.Dir), 0o755); err != nil {
		return err
	}
	if p.wan, err = wan.New(); err != nil {
		return err
	}
	for _, name := range append([]string{Person}, sites...) {
		ns, err := netns.Create(Namespace(p.Dir, name))
		if err != nil {
			return err
		}
		p.spaces[name] = ns
		if err := p.wan.Attach(name, ns, hostOf(name)); err != nil {
			return err
		}
	}
	for i, a := range sites {
		for _, b := range sites[i+1:] {
			if err := p.wan.Set(a, b, wan.Path{RTT: siteRTT(a, b)}); err != nil {
				return err
			}
		}
		if err := p.wan.Set(Person, a, wan.Path{}); err != nil {
			return err
		}
	}
	return p.Locate(p.place)
}

// save writes the state file.
func (p *Planet) save() {
	p.saving.Lock()
	defer p.saving.Unlock()
	if err := writeState(p.State()); err != nil {
		p.logger.Warn("state is not written", "error", err)
	}
}

// State is the planet as "dev status" shows it. Its sites' states are in their
// own folders.
func (p *Planet) State() State {
	started, _ := startTicks(os.Getpid())
	return State{
		PID: os.Getpid(), Started: started, Dir: p.Dir, RunDir: runDir(p.Dir), Sites: p.Names(),
		Namespace: Namespace(p.Dir, Person), Ports: PortsFrom(DefaultPort), URL: p.URL(), Tools: p.tools,
	}
}

// all are the sites that were prepared so far.
func (p *Planet) all() (sites []*Cluster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.sites {
		if c != nil {
			sites = append(sites, c)
		}
	}
	return sites
}

// Names are the sites.
func (p *Planet) Names() (names []string) {
	for _, c := range p.all() {
		names = append(names, c.Site)
	}
	return names
}

// Site is one site's cluster; nil where there is none of that name.
func (p *Planet) Site(name string) *Cluster {
	for _, c := range p.all() {
		if c.Site == name {
			return c
		}
	}
	return nil
}

// WAN is what joins the sites and Person: for paths that Locate, Cut and Heal
// do not make.
func (p *Planet) WAN() *wan.WAN { return p.wan }

// Person is the namespace in which the person sits.
func (p *Planet) Person() *netns.NS { return p.spaces[Person] }

// WaitFederated returns when each site's Consul and Nomad know all sites.
func (p *Planet) WaitFederated(ctx context.Context) error {
	waits, ctx := errgroup.WithContext(ctx)
	for _, c := range p.all() {
		for _, url := range []string{"http://" + c.ConsulAddress + "/v1/catalog/datacenters", "http://" + c.NomadAddress + "/v1/regions"} {
			waits.Go(func() error { return p.waitNames(ctx, c, url) })
		}
	}
	if err := waits.Wait(); err != nil {
		return err
	}
	p.logger.Info("all sites know each other")
	return nil
}

// waitNames waits until a list that a site's server gives has all sites.
func (p *Planet) waitNames(ctx context.Context, c *Cluster, url string) error {
	tick := time.NewTicker(100 * time.Millisecond)
	defer tick.Stop()
	for {
		var known []string
		body, err := c.get(ctx, url)
		if err == nil {
			err = json.Unmarshal(body, &known)
		}
		var missing []string
		for _, site := range p.Names() {
			if !slices.Contains(known, site) {
				missing = append(missing, site)
			}
		}
		if err == nil && len(missing) == 0 {
			return nil
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			return fmt.Errorf("wait until %s knows %s (%s, %v): %w", c.Site, strings.Join(missing, ", "), url, err, ctx.Err())
		}
	}
}

// WaitIdle returns when an app has an idle seat at every site; see Cluster.WaitIdle.
func (p *Planet) WaitIdle(ctx context.Context, app string) error {
	waits, ctx := errgroup.WithContext(ctx)
	for _, c := range p.all() {
		waits.Go(func() error {
			if err := c.WaitIdle(ctx, app); err != nil {
				return fmt.Errorf("site %s: %w", c.Site, err)
			}
			return nil
		})
	}
	return waits.Wait()
}

// RunJob publishes an app at every site; see Cluster.RunJob.
func (p *Planet) RunJob(ctx context.Context, file string, vars map[string]string) (id string, err error) {
	for _, c := range p.all() {
		if id, err = c.RunJob(ctx, file, vars); err != nil {
			return "", fmt.Errorf("site %s: %w", c.Site, err)
		}
	}
	return id, nil
}

// Close ends all sites, then the WAN, the namespaces and what runs in them.
func (p *Planet) Close() error {
	p.closing.Do(func() { p.closed = p.down() })
	return p.closed
}

func (p *Planet) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	defer p.unlock()
	if p.control != nil {
		p.control.Close()
	}
	var stops errgroup.Group
	for _, c := range p.all() {
		stops.Go(c.Close)
	}
	problems := []error{stops.Wait()}
	if p.wan != nil {
		problems = append(problems, p.wan.Close())
	}
	for _, ns := range p.spaces {
		problems = append(problems, ns.Close())
	}
	problems = append(problems, sweepAll(ctx, p.Dir, runDir(p.Dir), p.logger))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("stop the planet: %w", err)
	}
	return removeState(p.Dir, runDir(p.Dir))
}
