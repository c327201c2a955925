// Package cloud is what an operator does with a whole cluster, from the outputs that
// Terraform prints: the command "nearcast cloud".
//
//	outputs, err := cloud.ReadOutputs(file)          // terraform output -json
//	c := cloud.Cluster{Outputs: outputs, Reach: reach, Say: say}
//	changed, err := c.Up(ctx, cloud.Options{Wait: 30 * time.Minute})
//	findings := c.Doctor(ctx)                        // what is wrong, in words
//
// It asks Consul and Nomad through one server of one site: that server forwards what is for
// another site. It owns no state. What is to be follows from the outputs, the settings and the jobs
// that are part of the program; what is, from Nomad. So each command may be killed at any line,
// and the next one goes on.
//
// It does not know the parts that it registers: their jobs are those of jobs/platform.
// cloud/nomad and cloud/aws are its adapters; internal/fleet is the one for Consul.
package cloud

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/internal/fleet"
	"github.com/nearcast/nearcast/internal/wire"
)

// Cluster is all sites of one installation.
type Cluster struct {
	Outputs Outputs
	// Reach gives the APIs of a site.
	Reach func(site string) Reached
	// Say prints a line for the operator. It is called by one goroutine at a time.
	Say func(line string)
	// Poll is the time between two looks; default 2 s.
	Poll time.Duration
	// Cloud gives what the cloud's account says of a site. nil: nothing is known of groups and
	// buckets.
	Cloud func(region string) (Cloud, error)
	// Web asks as people's browsers do.
	Web Web
	// By names the operator to another one, such as alice@laptop.
	By string
	// Beat is the time between two notes that a command is at work; default 2 s.
	Beat time.Duration

	saying sync.Mutex
}

func (c *Cluster) say(line string) {
	c.saying.Lock()
	defer c.saying.Unlock()
	c.Say(line)
}

// Reached are the APIs of one site.
type Reached struct {
	Nomad  Nomad
	Consul Consul
}

// Nomad is what is asked of a site's Nomad.
type Nomad interface {
	Servers(ctx context.Context) ([]Server, error)
	Nodes(ctx context.Context) ([]Node, error)
	// ClockOffset is how far the clock of a node is ahead of this machine's.
	ClockOffset(ctx context.Context, node string) (time.Duration, error)
	// Variable is nil where there is none, with the index 0.
	Variable(ctx context.Context, path string) (items map[string]string, index uint64, err error)
	// PutVariable writes a variable that nobody wrote since index, else ErrChanged.
	PutVariable(ctx context.Context, path string, items map[string]string, index uint64) error
	HasNamespace(ctx context.Context, name string) (bool, error)
	Plan(ctx context.Context, job Job) (Planned, error)
	// Run registers what was planned, else ErrChanged.
	Run(ctx context.Context, planned Planned) error
	NomadSecrets
	// State is that of the namespace's job; Exists is false where there is none.
	State(ctx context.Context, namespace, job string) (State, error)
	// LastFailure is how the seat of an app that failed last ended; empty where none has.
	LastFailure(ctx context.Context, app string) (string, error)
}

// NomadSecrets is what a rotation asks of a site's Nomad. Calls for what is done already change
// nothing. Gossip keys are those of all sites.
type NomadSecrets interface {
	HasToken(ctx context.Context, secret string) (bool, error)
	// ManagementToken makes the management token of that name, or reads it.
	ManagementToken(ctx context.Context, name string) (secret string, err error)
	// DropToken deletes a token, by the right of another one: none deletes itself.
	DropToken(ctx context.Context, secret, by string) error
	// NodeKeys are the public keys by which Nomad knows the statements of nodes.
	NodeKeys(ctx context.Context, keys []string) error
	// OwnsAccess reports whether policies that are written there stay there: elsewhere Nomad writes
	// them at the region that its servers follow.
	OwnsAccess(ctx context.Context) (bool, error)
	// SeatsBefore counts the seats that began before a time.
	SeatsBefore(ctx context.Context, at time.Time) (int, error)
	Gossip
}

// ConsulSecrets is what a rotation asks of a site's Consul.
type ConsulSecrets interface {
	// Shown is what nodes that are not lost show of themselves, by node.
	Shown(ctx context.Context) (map[string]map[string]string, error)
	HasToken(ctx context.Context, secret string) (bool, error)
	// CopyToken makes a token with the rights of an old one.
	CopyToken(ctx context.Context, old, secret string) error
	DropToken(ctx context.Context, secret, by string) error
	Gossip
}

// Gossip are the keys of a pool of agents.
type Gossip interface {
	// GossipKeys are true where every agent has the key.
	GossipKeys(ctx context.Context) (map[string]bool, error)
	InstallGossipKey(ctx context.Context, key string) error
	UseGossipKey(ctx context.Context, key string) error
	RemoveGossipKey(ctx context.Context, key string) error
}

// Consul is what is asked of a site's Consul. FromFleet makes one of internal/fleet.
type Consul interface {
	ConsulSecrets
	Notes
	Servers(ctx context.Context) ([]Server, error)
	// Lost are the nodes whose Consul agent does not answer.
	Lost(ctx context.Context) ([]string, error)
	Instances(ctx context.Context, service string) ([]wire.Instance, error)
	Apps(ctx context.Context) (map[string]wire.App, error)
	// Through is the site whose server is asked, and knows are the sites that it knows, reached or not.
	Through(ctx context.Context) (site string, knows []string, err error)
	// Follows is the site whose access control this one copies; itself, where it is the primary one.
	Follows(ctx context.Context) (string, error)
	// Distance is what Consul's coordinates say of the way to another site.
	Distance(ctx context.Context, to string) (wire.Distance, error)
}

type fleetConsul struct {
	*fleet.Fleet
	site  string
	asked *fleet.Fleet
}

// FromFleet is a site's Consul, through an agent of whatever site.
func FromFleet(all *fleet.Fleet, site string) Consul { return fleetConsul{all.At(site), site, all} }

// Through implements Consul.
func (f fleetConsul) Through(ctx context.Context) (site string, knows []string, err error) {
	if site, err = f.asked.Site(ctx); err != nil {
		return "", nil, err
	}
	knows, err = f.asked.Sites(ctx)
	return site, knows, err
}

// Servers implements Consul.
func (f fleetConsul) Servers(ctx context.Context) (servers []Server, err error) {
	all, err := f.Fleet.Servers(ctx)
	for _, s := range all {
		servers = append(servers, Server(s))
	}
	return servers, err
}

// Distance implements Consul.
func (f fleetConsul) Distance(ctx context.Context, to string) (wire.Distance, error) {
	said, err := f.Coordinates(ctx)
	if err != nil {
		return wire.Distance{}, err
	}
	coordinates := fleet.NewCoordinateMap()
	coordinates.Learn(said, time.Now())
	return coordinates.Distance(f.site, to, time.Now()), nil
}

// Cloud is what is asked of the cloud's account, in one region.
type Cloud interface {
	Group(ctx context.Context, name string) (Group, error)
	// Reasons are why nodes of a group were given up since then, the latest first.
	Reasons(ctx context.Context, bucket, group string, since time.Time) ([]Reason, error)
	// Objects are the sizes of a bucket's objects that are older than the time, at most so many.
	Objects(ctx context.Context, bucket string, before time.Time, most int) (map[string]int64, error)

	// Backups are the times of the latest snapshots in a bucket, by program (consul, nomad).
	Backups(ctx context.Context, bucket string) (map[string]time.Time, error)

	// Refresh begins to replace the nodes of a group, Last is the refresh that began last, if any.
	Refresh(ctx context.Context, group string, how Preferences) (id string, err error)
	Last(ctx context.Context, group string) (Refresh, error)
	Cancel(ctx context.Context, group string) error

	// Template is what new nodes of a group are made of. UseTemplate names another version of the same.
	Template(ctx context.Context, group string) (Template, error)
	UseTemplate(ctx context.Context, group string, version int) error
}

// Group is an auto scaling group.
type Group struct {
	Wanted, InService, Starting int
	// Troubles are what its last activities say, where they failed.
	Troubles []string
}

// Reason is what a node wrote before it was given up.
type Reason struct {
	Instance, Text string
	At             time.Time
}

// Web is what a browser asks.
type Web interface {
	// Sites is what a router says of all sites.
	Sites(ctx context.Context, routerURL string) (wire.SitesResponse, error)
	// Expires is until when the certificate at a URL is good.
	Expires(ctx context.Context, url string) (time.Time, error)
}

// ErrChanged means that somebody else changed the same at the same time.
var ErrChanged = errors.New("somebody else changed it meanwhile; run the command again")

// Server is a server of Consul or Nomad.
type Server struct {
	Name, Version          string
	Leader, Voter, Healthy bool
}

// quorum says in words why servers are too few or not well; "" if at least want of them have a
// vote and are well, and one of them leads.
func quorum(servers []Server, want int) string {
	var sick, voters []string
	leader := false
	for _, s := range servers {
		switch {
		case !s.Healthy:
			sick = append(sick, s.Name)
		case s.Voter:
			voters = append(voters, s.Name)
			leader = leader || s.Leader
		}
	}
	switch {
	case len(servers) == 0:
		return "no server is known"
	case !leader:
		return fmt.Sprintf("there is no leader (healthy voters: %s)", list(voters))
	case len(sick) > 0:
		return "servers are not healthy: " + list(sick)
	case len(voters) < want:
		return fmt.Sprintf("%d of %d servers have a vote (%s)", len(voters), want, list(voters))
	}
	return ""
}

func list(names []string) string {
	if len(names) == 0 {
		return "none"
	}
	names = slices.Clone(names)
	slices.Sort(names)
	const most = 6
	if len(names) > most {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:most], ", "), len(names)-most)
	}
	return strings.Join(names, ", ")
}

// Node is a node of Nomad.
type Node struct {
	ID, Name, Pool, Version string
	Status                  string // ready, down, …
	Eligible, Draining      bool
	// Sick are drivers that are not healthy, with what they say.
	Sick map[string]string
	// Stream says that the node has the driver of seats.
	Stream bool
}

// Ready reports whether the node takes work.
func (n Node) Ready() bool { return n.Status == "ready" && n.Eligible && !n.Draining }

// Planned is what Nomad would do with a job.
type Planned struct {
	Job     Job
	ID      string   // of the job, from its file
	New     bool     // nothing has the name yet, or it is stopped
	Changes []string // in words; none with New false: the job is as it is to be
	// Unplaced says why instances would find no node.
	Unplaced string
	// Again has Nomad try a version anew that failed.
	Again bool
	// Adapter is the adapter's own.
	Adapter any
}

// State is a job as it is.
type State struct {
	Exists, Stopped bool
	Version         uint64
	Wanted, Running int
	// Deployment is its last one's status (running, successful, failed …) and Why the words to
	// it; empty where there is none. It may be of an older version.
	Deployment, Why   string
	DeploymentVersion uint64
	// Trouble are the last words of instances that do not run, and why some find no node.
	Trouble []string
}

// each calls do for the sites at once, 64 at a time, and joins their errors, each with the
// name of its site.
func (c *Cluster) each(sites []Site, do func(Site) error) error {
	failed := make([]error, len(sites))
	slots := make(chan struct{}, 64)
	var all sync.WaitGroup
	for i, site := range sites {
		all.Go(func() {
			slots <- struct{}{}
			defer func() { <-slots }()
			if err := do(site); err != nil {
				failed[i] = fmt.Errorf("%s: %w", site.Name, err)
			}
		})
	}
	all.Wait()
	return errors.Join(failed...)
}

// until calls try until it says nothing is missing, and says what is when that changes. what
// names the wait for the error.
func (c *Cluster) until(ctx context.Context, site, what string, try func(context.Context) (missing string, err error)) error {
	poll := c.Poll
	if poll == 0 {
		poll = 2 * time.Second
	}
	tick := time.NewTicker(poll)
	defer tick.Stop()
	last := ""
	for {
		missing, err := try(ctx)
		if err == nil && missing == "" {
			return nil
		}
		if fatal := (stop{}); errors.As(err, &fatal) {
			return fatal.error
		}
		if err != nil {
			missing = err.Error()
			if refused(err) {
				missing += "; where its access control is set up, it needs the operator's tokens: " + giveTokens
			}
		}
		if ctx.Err() == nil && missing != last {
			c.say(fmt.Sprintf("%s: waits for %s: %s", site, what, missing))
			last = missing
		}
		select {
		case <-tick.C:
		case <-ctx.Done():
			if errors.Is(ctx.Err(), context.Canceled) {
				return fmt.Errorf("the wait for %s was interrupted: %s", what, last)
			}
			return fmt.Errorf("%s did not come in time: %s", what, last)
		}
	}
}

const giveTokens = "NOMAD_TOKEN and CONSUL_HTTP_TOKEN, or --cluster-file FILE"

// refused reports whether Consul or Nomad does not take the token.
func refused(err error) bool {
	text := err.Error()
	return strings.Contains(text, "403") || strings.Contains(text, "Permission denied") || strings.Contains(text, "ACL not found")
}

// stop ends a wait: more of it would not help.
type stop struct{ error }
