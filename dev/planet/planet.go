// Package planet runs several sites on one machine, and a person who uses them. Each
// site is a cluster of package dev in a network namespace with an address of its own. A
// WAN with the round trips of the real regions joins them. The person has a namespace
// too, and can be moved and cut off while everything runs. A planet needs root.
//
//	p, err := planet.Start(ctx, planet.Options{
//		Options: dev.Options{Dir: dir, Bin: "bin", Apps: []string{"viewer"}},
//		Sites:   []string{"us-east-1", "eu-west-1", "ap-northeast-1"},
//	})
//	if err != nil { … }
//	defer p.Close()
//	err = p.Locate("tokyo")
//	page := p.URL() // http://198.18.5.10:7700, of the nearest site
//	// run a browser in the namespace dev.Namespace(p.Dir, planet.Person)
//	err = p.Cut("ap-northeast-1", "")
//
// Each site has an object store of its own, as with replicated buckets: a site that is
// cut off from the others still starts seats. Ticket keys are the same everywhere.
//
// The folder of a planet holds those of its sites below sites/, and the files that its
// namespaces are mounted on below netns/. dev.Down and the next Start find both there.
// The WAN ends with the process that runs it. Other processes send commands to that
// process: see Send.
package planet

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"net/netip"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"github.com/nearcast/nearcast/dev"
	"github.com/nearcast/nearcast/dev/planet/netns"
	"github.com/nearcast/nearcast/dev/planet/wan"
	"github.com/nearcast/nearcast/dev/setup"
	"github.com/nearcast/nearcast/internal/ticket"
)

// Person is the name of the namespace of the person who uses a planet.
const Person = "person"

// DefaultPlace is where the person sits until Locate moves them.
const DefaultPlace = "frankfurt"

// Options say what to run and where.
type Options struct {
	// Options are those of each site. Dir is the folder of the whole planet. Ports are
	// ignored: each site has an address of its own.
	dev.Options
	// Sites are AWS regions: see Regions.
	Sites []string
	// Place is where the person sits at first; empty is DefaultPlace.
	Place string
	// Jitter and Loss are those of the person's last mile: see wan.Path.
	Jitter time.Duration
	Loss   float64
}

// Planet is several running sites and a person, joined by a WAN.
type Planet struct {
	Dir string

	folder   *dev.Folder
	sites    []*dev.Cluster // in the order of Options.Sites; nil until it serves
	wan      *wan.WAN
	spaces   map[string]*netns.NS
	displays []*os.File // each site's own, see ownDisplays
	jitter   time.Duration
	loss     float64

	tools        map[string]string
	logger       *slog.Logger
	stopCommands func() // of the command socket; nil until it serves

	mu      sync.Mutex
	place   string
	closing sync.Once
	closed  error
}

// Start brings a planet up. It returns when all sites serve and know each other. Seats
// may still be starting: see WaitIdle. ctx bounds the start only. It needs root, and
// what wan.Supported checks.
func Start(ctx context.Context, o Options) (_ *Planet, err error) {
	if err := o.check(); err != nil {
		return nil, err
	}
	p := &Planet{spaces: make(map[string]*netns.NS), jitter: o.Jitter, loss: o.Loss, place: o.Place, logger: dev.NewLogger(o.Log)}
	if p.folder, err = dev.TakeFolder(ctx, o.Dir, p.logger); err != nil {
		return nil, err
	}
	p.Dir = p.folder.Dir
	if err := p.up(ctx, o); err != nil {
		return nil, errors.Join(err, p.Close())
	}
	return p, nil
}

func (o *Options) check() error {
	if err := wan.Supported(); err != nil {
		return fmt.Errorf("a planet cannot run here: %w", err)
	}
	if len(o.Sites) == 0 {
		return fmt.Errorf("name the sites of the planet; there are: %s", strings.Join(Regions(), ", "))
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
	_, err := findPlace(o.Place)
	return err
}

// addressOf is the address of a site, or of the person.
func addressOf(name string) netip.Addr {
	network := byte(0)
	if name != Person {
		network = byte(regionIndex(name) + 1)
	}
	return netip.AddrFrom4([4]byte{198, 18, network, 10})
}

func (p *Planet) up(ctx context.Context, o Options) error {
	// From here on there is something that Down has to end.
	p.save()
	bin, err := filepath.Abs(o.Bin)
	if err != nil {
		return err
	}
	root, err := setup.Root(o.Root, bin)
	if err != nil {
		return err
	}
	// Here once: the sites find what is ready.
	if p.tools, err = setup.Tools(ctx, root, o.Log); err != nil {
		return err
	}
	keys := filepath.Join(p.Dir, "keys")
	if err := ticket.GenerateKeys(keys); err != nil && !errors.Is(err, fs.ErrExist) {
		return err
	}
	if err := p.join(o.Sites); err != nil {
		return err
	}
	p.sites = make([]*dev.Cluster, len(o.Sites))
	if err := p.serveCommands(); err != nil {
		return err
	}
	locations := make([]dev.Location, len(o.Sites))
	for i, site := range o.Sites {
		if locations[i], err = p.location(site, o.Sites, keys); err != nil {
			return fmt.Errorf("site %s: %w", site, err)
		}
	}
	starts, starting := errgroup.WithContext(ctx)
	for i, at := range locations {
		options := o.Options
		options.Dir, options.Root, options.Ports, options.Log = dev.SiteDir(p.Dir, at.Site), root, dev.PortsFrom(dev.DefaultPort), nil
		starts.Go(func() error {
			c, err := dev.StartAt(starting, options, at)
			if err != nil {
				return fmt.Errorf("site %s: %w", at.Site, err)
			}
			p.mu.Lock()
			p.sites[i] = c
			p.mu.Unlock()
			return nil
		})
	}
	if err := starts.Wait(); err != nil {
		return err
	}
	p.save()
	return p.WaitFederated(ctx)
}

// location is where a site runs.
func (p *Planet) location(site string, sites []string, keys string) (dev.Location, error) {
	displays, err := ownDisplays()
	if err != nil {
		return dev.Location{}, err
	}
	p.displays = append(p.displays, displays)
	at := dev.Location{
		Site: site, Address: addressOf(site).String(), Keys: keys, Log: p.logger.With("site", site),
		Network: p.spaces[site], Interface: wan.Device, Residency: awsRegions[regionIndex(site)].residency,
		NodePrefix: []string{"nsenter", fmt.Sprintf("--mount=/proc/%d/fd/%d", os.Getpid(), displays.Fd()), "--"},
	}
	for _, other := range sites {
		if other != site {
			at.Peers = append(at.Peers, addressOf(other).String())
		}
	}
	return at, nil
}

// join makes the namespaces and the WAN between them.
func (p *Planet) join(sites []string) (err error) {
	if p.wan, err = wan.New(); err != nil {
		return err
	}
	for _, name := range append([]string{Person}, sites...) {
		path := dev.Namespace(p.Dir, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o755); err != nil {
			return err
		}
		ns, err := netns.Create(path)
		if err != nil {
			return err
		}
		p.spaces[name] = ns
		if err := p.wan.Attach(name, ns, addressOf(name)); err != nil {
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
func (p *Planet) save() { p.folder.Save(p.State) }

// State is the planet as "dev status" shows it. Each site has a state of its own.
func (p *Planet) State() dev.State {
	return dev.State{
		Sites: p.Names(), Namespace: dev.Namespace(p.Dir, Person),
		Ports: dev.PortsFrom(dev.DefaultPort), URL: p.URL(), Tools: p.tools,
	}
}

// all are the sites that serve.
func (p *Planet) all() (sites []*dev.Cluster) {
	p.mu.Lock()
	defer p.mu.Unlock()
	for _, c := range p.sites {
		if c != nil {
			sites = append(sites, c)
		}
	}
	return sites
}

// Names are the names of the sites.
func (p *Planet) Names() (names []string) {
	for _, c := range p.all() {
		names = append(names, c.Site)
	}
	return names
}

// Site is the cluster of a site; nil where there is none of that name.
func (p *Planet) Site(name string) *dev.Cluster {
	for _, c := range p.all() {
		if c.Site == name {
			return c
		}
	}
	return nil
}

// WAN joins the sites and Person. It is for paths that Locate, Cut and Heal do not make.
func (p *Planet) WAN() *wan.WAN { return p.wan }

// Person is the namespace in which the person sits.
func (p *Planet) Person() *netns.NS { return p.spaces[Person] }

// Close ends all sites, then the WAN, the namespaces and what runs in them.
func (p *Planet) Close() error {
	p.closing.Do(func() { p.closed = p.down() })
	return p.closed
}

func (p *Planet) down() error {
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	if p.stopCommands != nil {
		p.stopCommands()
	}
	var stops errgroup.Group
	for _, c := range p.all() {
		stops.Go(c.Close)
	}
	problems := []error{stops.Wait()}
	for _, d := range p.displays {
		problems = append(problems, d.Close())
	}
	if p.wan != nil {
		problems = append(problems, p.wan.Close())
	}
	for _, ns := range p.spaces {
		problems = append(problems, ns.Close())
	}
	problems = append(problems, p.folder.Release(ctx))
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("stop the planet: %w", err)
	}
	return nil
}
