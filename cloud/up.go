package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"strings"
	"sync"
	"time"
)

// Options of Plan and Up.
type Options struct {
	Sites    []Site // default: all
	Settings []Setting
	// Wait is for how long at most Up waits for a site; default 30 min.
	Wait time.Duration
}

func (o Options) sites(c *Cluster) []Site {
	if len(o.Sites) == 0 {
		return c.Outputs.Sites
	}
	return o.Sites
}

// Up makes the platform run at all sites, and says what it did. A site that fails does not stop
// the others. changed is false where everything was as it is to be.
func (c *Cluster) Up(ctx context.Context, o Options) (changed bool, err error) {
	if o.Wait == 0 {
		o.Wait = 30 * time.Minute
	}
	ctx, cancel := context.WithTimeout(ctx, o.Wait)
	defer cancel()
	token := operatorToken{c: c}
	var mu sync.Mutex
	err = c.each(o.sites(c), func(site Site) error {
		if err := c.ready(ctx, site); err != nil {
			return err
		}
		gave, err := token.give(ctx, site)
		did := false
		if err == nil {
			did, err = c.site(ctx, site, o.Settings)
		}
		mu.Lock()
		defer mu.Unlock()
		changed = changed || gave || did
		return err
	})
	return changed, err
}

// ready waits until a site can run jobs: its servers have a quorum, the access control is set
// up, and enough edge nodes are there.
func (c *Cluster) ready(ctx context.Context, site Site) error {
	at := c.Reach(site.Name)
	err := c.until(ctx, site.Name, "servers", func(ctx context.Context) (string, error) { return missingServers(ctx, at, site) })
	if err != nil {
		return err
	}
	err = c.until(ctx, site.Name, "access control", func(ctx context.Context) (string, error) { return missingKeys(ctx, at.Nomad) })
	if err != nil {
		return err
	}
	return c.until(ctx, site.Name, "edge nodes", func(ctx context.Context) (string, error) {
		ready, err := countReady(ctx, at.Nomad, "edge")
		if err == nil && ready < site.EdgeNodes-1 { // the last one is free
			return fmt.Sprintf("%d of %d are ready", ready, site.EdgeNodes), nil
		}
		return "", err
	})
}

// missingServers says what the servers of a site lack.
func missingServers(ctx context.Context, at Reached, site Site) (string, error) {
	consul, err := at.Consul.Servers(ctx)
	if err != nil {
		return "", err
	}
	if why := quorum(consul, site.Servers); why != "" {
		return "Consul: " + why, nil
	}
	nomad, err := at.Nomad.Servers(ctx)
	if err != nil {
		return "", err
	}
	if why := quorum(nomad, site.Servers); why != "" {
		return "Nomad: " + why, nil
	}
	return "", nil
}

func countReady(ctx context.Context, nomad Nomad, pool string) (ready int, err error) {
	nodes, err := nomad.Nodes(ctx)
	for _, n := range nodes {
		if n.Pool == pool && n.Ready() {
			ready++
		}
	}
	return ready, err
}

// site registers what differs, one job after the other, and waits until it is healthy.
func (c *Cluster) site(ctx context.Context, site Site, settings []Setting) (changed bool, err error) {
	if changed, err = c.turnSecret(ctx, site); err != nil {
		return changed, err
	}
	nomad := c.Reach(site.Name).Nomad
	for _, job := range c.Outputs.Jobs(site, settings) {
		if missing, err := missingRights(ctx, nomad, job); err != nil || missing != "" {
			return changed, cmp.Or(err, errors.New(missing))
		}
		planned, err := nomad.Plan(ctx, job)
		if err != nil {
			return changed, err
		}
		if planned.New || len(planned.Changes) > 0 {
			c.say(site.Name + ": " + inWords(planned))
			if err := nomad.Run(ctx, planned); err != nil {
				return changed, fmt.Errorf("%s: %w", job.Name, err)
			}
			changed = true
		}
		// Nomad goes back to the earlier version where this one fails, and counts on.
		began, err := nomad.State(ctx, "default", planned.ID)
		if err != nil {
			return changed, err
		}
		state, err := c.healthy(ctx, site.Name, nomad, planned.ID)
		if err == nil && state.Version != began.Version {
			err = fmt.Errorf("%s: version %d did not become healthy, and Nomad went back to the earlier one: %s", planned.ID, began.Version, list(state.Trouble))
		}
		if err != nil {
			return changed, err
		}
		c.say(fmt.Sprintf("%s: %s is healthy, version %d, %d of %d run", site.Name, planned.ID, state.Version, state.Running, state.Wanted))
	}
	return changed, nil
}

// healthy waits until the last deployment of a job has succeeded and all its instances run.
func (c *Cluster) healthy(ctx context.Context, site string, nomad Nomad, job string) (state State, err error) {
	err = c.until(ctx, site, job, func(ctx context.Context) (string, error) {
		if state, err = nomad.State(ctx, "default", job); err != nil {
			return "", err
		}
		return unhealthy(state)
	})
	return state, err
}

// unhealthy says why a job is not as it is to be yet; stop, where it will not become so by itself.
func unhealthy(s State) (missing string, err error) {
	why := ""
	if len(s.Trouble) > 0 {
		why = " (" + strings.Join(s.Trouble, "; ") + ")"
	}
	switch {
	case !s.Exists:
		return "it is not registered", nil
	case s.Stopped:
		return "", stop{fmt.Errorf("somebody stopped it")}
	case s.Deployment == "failed" && s.DeploymentVersion == s.Version:
		return "", stop{fmt.Errorf("its deployment failed: %s%s", s.Why, why)}
	case s.Deployment == "cancelled" && s.DeploymentVersion == s.Version:
		return "", stop{fmt.Errorf("its deployment was cancelled: %s", s.Why)}
	case s.Wanted == 0 && s.Running == 0: // a version without instances has no deployment
		return "", nil
	case s.Deployment != "" && s.Deployment != "successful", s.Deployment != "" && s.DeploymentVersion != s.Version:
		return fmt.Sprintf("%d of %d run, the deployment is not complete%s", s.Running, s.Wanted, why), nil
	case s.Running < s.Wanted:
		return fmt.Sprintf("%d of %d run%s", s.Running, s.Wanted, why), nil
	}
	return "", nil
}

// inWords says what registering a job would do.
func inWords(p Planned) string {
	text := p.Job.Name + ": "
	switch {
	case p.New:
		text += "new"
		for _, v := range p.Job.Variables {
			text += fmt.Sprintf(", %s = %s", v.Name, v.Value)
		}
	case len(p.Changes) == 0:
		text += "nothing changes"
	default:
		text += "changes: " + strings.Join(p.Changes, "; ")
	}
	if p.Unplaced != "" {
		text += "; BUT not all instances would find a node: " + p.Unplaced
	}
	return text
}
