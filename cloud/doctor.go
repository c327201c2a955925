package cloud

import (
	"context"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Finding is one thing that is wrong, in words.
type Finding struct {
	Site    string `json:"site"`
	Problem string `json:"problem"`
	// Evidence is what was seen, and Do what an operator does about it.
	Evidence string `json:"evidence,omitempty"`
	Do       string `json:"do,omitempty"`
	// Unknown means that nothing is known to be wrong: this could not be looked at.
	Unknown bool `json:"unknown,omitempty"`
	// Note means that nothing is wrong: an operator may want it so.
	Note bool `json:"note,omitempty"`
}

// look is all that was seen of a site.
type look struct {
	site          Site
	consul, nomad []Server
	lost          []string
	through       string   // the site whose servers are asked, where that is known
	sees          []string // sites that the Consul servers of that site know
	noConsul      error    // why Consul or Nomad of this site does not answer
	noNomad       error
	nodes         []Node
	clocks        map[string]time.Duration // by node
	jobs          map[string]State
	instances     map[string][]wire.Instance // by service
	apps          map[string]wire.App
	failures      map[string]string            // by app
	shown         map[string]map[string]string // what nodes show in Consul
	backups       map[string]time.Time         // the latest ones, by place and program
	groups        map[string]Group             // by role
	reasons       map[string][]Reason
	objects       map[string]int64 // of the content bucket
	router        *wire.SitesResponse
	coordinates   map[string]wire.Distance // to other sites
	certificates  map[string]time.Time     // by URL
	findings      []Finding                // of looking itself
}

// How much is looked at, and from when on something is wrong.
const (
	lookTime     = 30 * time.Second
	clockNodes   = 200 // of a site, whose clocks are asked
	mostObjects  = 50_000
	copyTime     = 15 * time.Minute // that a copy may take
	clockLimit   = 5 * time.Second  // tickets are refused from 30 s on
	expiresSoon  = 21 * 24 * time.Hour
	reasonsSince = 24 * time.Hour
	backupAge    = 24 * time.Hour
	history      = time.Hour // after which a node that was given up is none, where the group is whole
)

// Doctor says what is wrong with the sites: first what could be seen, then in the order of the
// sites.
func (c *Cluster) Doctor(ctx context.Context, sites []Site) []Finding {
	var mu sync.Mutex
	by := map[string]*look{}
	c.each(sites, func(site Site) error {
		l := c.look(ctx, site)
		mu.Lock()
		defer mu.Unlock()
		by[site.Name] = l
		return nil
	})
	var looks []*look
	for _, site := range sites {
		looks = append(looks, by[site.Name])
	}
	return diagnose(looks, c.Outputs.Names(), time.Now())
}

// look asks all that is to be known of a site.
func (c *Cluster) look(ctx context.Context, site Site) *look {
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	l := &look{
		site: site, clocks: map[string]time.Duration{}, jobs: map[string]State{}, instances: map[string][]wire.Instance{},
		failures: map[string]string{}, groups: map[string]Group{}, reasons: map[string][]Reason{},
		backups: map[string]time.Time{}, coordinates: map[string]wire.Distance{}, certificates: map[string]time.Time{},
	}
	at := c.Reach(site.Name)
	// The parts are asked at once: one that hangs does not hide the others.
	parts := []func(context.Context, *look, func(Finding)){
		func(ctx context.Context, l *look, tell func(Finding)) { lookConsul(ctx, at.Consul, c.Outputs, l, tell) },
		func(ctx context.Context, l *look, tell func(Finding)) { lookNomad(ctx, at.Nomad, l, tell) },
		c.lookWeb, c.lookCloud,
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	for _, part := range parts {
		all.Go(func() {
			part(ctx, l, func(f Finding) {
				mu.Lock()
				defer mu.Unlock()
				f.Site = site.Name
				l.findings = append(l.findings, f)
			})
		})
	}
	all.Wait()
	for _, id := range failing(l.apps) {
		words, err := at.Nomad.LastFailure(ctx, id)
		if err != nil {
			words = err.Error()
		}
		l.failures[id] = words
	}
	return l
}

func lookConsul(ctx context.Context, consul Consul, o Outputs, l *look, tell func(Finding)) {
	var err error
	if l.through, l.sees, err = consul.Through(ctx); err != nil {
		l.through = ""
		tell(Finding{Problem: "Consul does not say which sites it knows", Evidence: err.Error(), Do: "compare the token's rights with acl/; run the command again", Unknown: true})
	}
	if l.consul, l.noConsul = consul.Servers(ctx); l.noConsul != nil {
		return
	}
	ask := func(what string, err error) {
		if err != nil {
			tell(Finding{Problem: "Consul does not say " + what, Evidence: err.Error(), Do: "compare the token's rights with acl/; run the command again", Unknown: true})
		}
	}
	l.lost, err = consul.Lost(ctx)
	ask("which nodes are lost", err)
	l.shown, err = consul.Shown(ctx)
	ask("what nodes show of their certificates", err)
	for _, service := range []string{wire.RouterService, wire.BrainService} {
		l.instances[service], err = consul.Instances(ctx, service)
		ask("which instances "+service+" has", err)
	}
	l.apps, err = consul.Apps(ctx)
	ask("which apps there are", err)
	for _, other := range o.Names() {
		if other != l.site.Name {
			if d, err := consul.Distance(ctx, other); err == nil {
				l.coordinates[other] = d
			}
		}
	}
}

func lookNomad(ctx context.Context, nomad Nomad, l *look, tell func(Finding)) {
	if l.nomad, l.noNomad = nomad.Servers(ctx); l.noNomad != nil {
		return
	}
	if l.nodes, l.noNomad = nomad.Nodes(ctx); l.noNomad != nil {
		return
	}
	for _, job := range knownJobs {
		state, err := nomad.State(ctx, "default", job)
		if err != nil {
			tell(Finding{Problem: "the job " + job + " cannot be read", Evidence: err.Error(), Unknown: true})
			continue
		}
		l.jobs[job] = state
	}
	var mu sync.Mutex
	var all sync.WaitGroup
	var unknown []string
	slots := make(chan struct{}, 16)
	for _, node := range l.nodes[:min(len(l.nodes), clockNodes)] {
		if node.Status != "ready" {
			continue
		}
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			offset, err := nomad.ClockOffset(ctx, node.ID)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				unknown = append(unknown, node.Name+" ("+err.Error()+")")
				return
			}
			l.clocks[node.Name] = offset
		})
	}
	all.Wait()
	if len(unknown) > 0 {
		tell(Finding{Problem: "the clocks of some nodes are not known", Evidence: list(unknown), Do: "run the command again; a node measures itself from its start on", Unknown: true})
	}
}

func (c *Cluster) lookWeb(ctx context.Context, l *look, tell func(Finding)) {
	if c.Web == nil {
		return
	}
	said, err := c.Web.Sites(ctx, l.site.RouterURL)
	if err != nil {
		tell(Finding{Problem: "people do not reach the router", Evidence: err.Error(),
			Do: "does the job router run (above)? Then look at the load balancer of the site and the name in DNS"})
	} else {
		l.router = &said
	}
	urls := []string{l.site.RouterURL, l.site.BrainURL}
	for _, u := range l.site.TURNURLs {
		if strings.HasPrefix(u, "turns:") {
			urls = append(urls, u)
		}
	}
	for _, u := range urls {
		if !strings.HasPrefix(u, "https:") && !strings.HasPrefix(u, "wss:") && !strings.HasPrefix(u, "turns:") {
			continue // for one machine
		}
		until, err := c.Web.Expires(ctx, u)
		if err != nil {
			tell(Finding{Problem: "there is no TLS at " + u, Evidence: err.Error(), Do: "look at the load balancer's listener and its certificate"})
			continue
		}
		l.certificates[u] = until
	}
}

func (c *Cluster) lookCloud(ctx context.Context, l *look, tell func(Finding)) {
	if c.Cloud == nil || len(l.site.Groups)+len(l.site.ContentBucket) == 0 {
		return
	}
	unknown := func(what string, err error) {
		tell(Finding{Problem: "it is not known " + what, Evidence: err.Error(), Do: "give credentials of the account that may read it, or --no-aws to leave it out", Unknown: true})
	}
	cloud, err := c.Cloud(l.site.Name)
	if err != nil {
		unknown("how the groups are", err)
		return
	}
	for _, role := range Roles {
		name := l.site.Groups[role]
		if name == "" {
			continue
		}
		if l.groups[role], err = cloud.Group(ctx, name); err != nil {
			unknown("how many nodes the group "+name+" has", err)
			return // with the same credentials the rest fails, too
		}
		if l.site.SystemBucket == "" {
			continue
		}
		if l.reasons[role], err = cloud.Reasons(ctx, l.site.SystemBucket, name, time.Now().Add(-reasonsSince)); err != nil {
			unknown("why nodes of "+name+" were given up", err)
		}
	}
	if err := c.lookBackups(ctx, l); err != nil {
		unknown("how old the backups are", err)
	}
	if len(c.Outputs.Sites) > 1 && l.site.ContentBucket != "" {
		before := time.Time{}
		if l.site.Primary {
			before = time.Now().Add(-copyTime)
		}
		if l.objects, err = cloud.Objects(ctx, l.site.ContentBucket, before, mostObjects); err != nil {
			unknown("which content "+l.site.ContentBucket+" has", err)
		}
	}
}

// lookBackups asks the region in which the backups are.
func (c *Cluster) lookBackups(ctx context.Context, l *look) error {
	at := l.site.Backups
	if at.Bucket == "" { // outputs of an earlier release
		at = Place{Bucket: l.site.SystemBucket, Region: l.site.Name}
	}
	if at.Bucket == "" {
		return nil
	}
	there, err := c.Cloud(at.Region)
	if err != nil {
		return err
	}
	latest, err := there.Backups(ctx, at.Bucket)
	if err != nil {
		return fmt.Errorf("look into %s in %s: %w", at.Bucket, at.Region, err)
	}
	for _, program := range []string{"consul", "nomad"} {
		l.backups["s3://"+at.Bucket+"/backups/"+program] = latest[program]
	}
	return nil
}

// failing are the apps whose seats do not start.
func failing(apps map[string]wire.App) (ids []string) {
	for id, app := range apps {
		if app.Capacity.Failing != "" {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// Words is a finding for a terminal.
func (f Finding) Words() string {
	head := "wrong"
	switch {
	case f.Unknown:
		head = "not known"
	case f.Note:
		head = "note"
	}
	text := fmt.Sprintf("%s: %s: %s\n", head, f.Site, f.Problem)
	if f.Evidence != "" {
		text += "    seen: " + f.Evidence + "\n"
	}
	if f.Do != "" {
		text += "    do:   " + f.Do + "\n"
	}
	return text
}
