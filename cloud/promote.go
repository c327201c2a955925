package cloud

import (
	"context"
	"fmt"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// Promotion is what stands between a site and being the primary one, and what Promote does. The primary
// site is in the configuration of all nodes (NEARCAST_PRIMARY_SITE), from which Consul has its
// primary datacenter and Nomad its authoritative region, so it changes by replacing nodes.
type Promotion struct {
	Site, From string
	// Blocked are what must be mended first; without them the steps may be taken.
	Blocked []Finding
	Steps   []string
}

// Promotion checks whether a site can become the primary one, and says how. It changes nothing.
// lost says that the primary site does not come back: what is there is not asked.
func (c *Cluster) Promotion(ctx context.Context, site Site, lost bool) (p Promotion, err error) {
	old := c.Outputs.Primary()
	if site.Name == old.Name {
		return p, fmt.Errorf("%s is the primary site already", site.Name)
	}
	p.Site, p.From = site.Name, old.Name
	ctx, cancel := context.WithTimeout(ctx, lookTime)
	defer cancel()
	blocked := func(problem, evidence, do string) {
		p.Blocked = append(p.Blocked, Finding{Site: site.Name, Problem: problem, Evidence: evidence, Do: do})
	}
	at := c.Reach(site.Name)
	if err := c.whole(ctx, site); err != nil {
		blocked("its servers are not whole", err.Error(), "nearcast cloud doctor --site "+site.Name)
	}
	if missing, err := missingKeys(ctx, at.Nomad); err != nil || missing != "" {
		blocked("the keys of tickets are not there", fmt.Sprint(missing, err), "on a server: systemctl status nearcast-acl")
	}
	if _, err := at.Consul.Instances(ctx, wire.RouterService); err != nil {
		blocked("Consul does not take the operator's token there", err.Error(), "the site has not copied the primary site's tokens: look at the replication (consul acl replication)")
	}
	if err := c.whole(ctx, old); (err == nil) == lost {
		if lost {
			blocked("the primary site "+old.Name+" is not lost", "its servers have a quorum", "leave out --lost: then it follows the new one")
		} else {
			blocked("the primary site "+old.Name+" is not whole", err.Error(), "restore it (docs/RECOVER.md), which keeps all sites as they are; or, if it is gone for good, give --lost")
		}
	}
	for _, other := range c.Outputs.Sites {
		if other.Name == site.Name || other.Name == old.Name {
			continue
		}
		if err := c.whole(ctx, other); err != nil {
			blocked("the servers of "+other.Name+" are not whole", err.Error(), "nearcast cloud doctor --site "+other.Name)
		}
	}
	if c.Cloud != nil && !lost && site.ContentBucket != "" && old.ContentBucket != "" {
		if missing, total, err := c.behind(ctx, old, site); err != nil {
			blocked("it is not known whether all content is there", err.Error(), "give credentials of the account, or --no-aws to leave it out")
		} else if missing > 0 {
			blocked("content is missing there", fmt.Sprintf("%d of %d objects", missing, total), fmt.Sprintf("aws s3 sync s3://%s s3://%s --source-region %s --region %s", old.ContentBucket, site.ContentBucket, old.Name, site.Name))
		}
	}
	p.Steps = c.promotionSteps(site, old, lost)
	return p, nil
}

func (c *Cluster) promotionSteps(site, old Site, lost bool) (steps []string) {
	sites := c.promoted(site, map[bool]string{true: old.Name}[lost])
	steps = []string{
		"Until it is complete, change no policy, token, launch key or node pool: nobody copies it.",
		"1. The configuration of all nodes says that " + site.Name + " is the primary site, by Terraform: read its plan, which replaces no bucket and no secret.",
	}
	for _, s := range sites {
		steps = append(steps, fmt.Sprintf("%d. The servers of %s are replaced, one after the other, and follow %s.", len(steps), s.Name, site.Name))
	}
	steps = append(steps, fmt.Sprintf("%d. Consul and Nomad take what is written at %s as the authority, and the other sites copy it.", len(steps), site.Name))
	return append(steps, fmt.Sprintf("%d. Edge and stream nodes are replaced: sessions end by themselves before. Then copies of content begin at %s.", len(steps), site.Name))
}

// promoted are the sites in the order in which they get their new primary one: that one, and
// then the others, without the one that is lost.
func (c *Cluster) promoted(site Site, lost string) []Site {
	sites := []Site{site}
	for _, s := range c.Outputs.Sites {
		if s.Name != site.Name && s.Name != lost {
			sites = append(sites, s)
		}
	}
	return sites
}

// PromoteOptions say how Promote works.
type PromoteOptions struct {
	// Lost is the former primary site, if it does not come back.
	Lost string
	// Roll has the pause and the time for each group.
	Roll RollOptions
}

// startTime is how long servers may take to answer after they were started.
const startTime = 2 * time.Minute

// Promote makes the sites follow their new primary one, which the outputs name already. It may be
// killed at any line: what is done is seen by what servers say, and left alone by another run.
func (c *Cluster) Promote(ctx context.Context, o PromoteOptions) error {
	site := c.Outputs.Primary()
	// A run before may have been killed while the servers of that site start again.
	soon, cancel := context.WithTimeout(ctx, startTime)
	err := c.until(soon, site.Name, "Consul to answer", func(ctx context.Context) (string, error) {
		_, _, err := c.Reach(site.Name).Consul.Note(ctx, workNote)
		return "", err
	})
	cancel()
	if err != nil {
		return fmt.Errorf("%s: %w", site.Name, err)
	}
	ctx, end, err := c.alone(ctx, "promote "+site.Name)
	if err != nil {
		return err
	}
	defer end()
	return taken(ctx, c.promote(ctx, site, o))
}

func (c *Cluster) promote(ctx context.Context, site Site, o PromoteOptions) error {
	sites := c.promoted(site, o.Lost)
	for _, s := range sites {
		// A run before may have been killed while servers start again.
		missing := ""
		soon, cancel := context.WithTimeout(ctx, startTime)
		err := c.until(soon, s.Name, "Consul to answer", func(ctx context.Context) (_ string, err error) {
			missing, err = c.follows(ctx, s, site.Name)
			return "", err
		})
		cancel()
		if err != nil {
			return fmt.Errorf("%s: %w", s.Name, err)
		}
		// A group may be half replaced, and its leader a new server: AWS knows which are, and leaves them.
		if missing == "" && c.Cloud == nil {
			c.say(fmt.Sprintf("%s: its servers follow %s already", s.Name, site.Name))
			continue
		}
		if c.Cloud != nil { // without it, the operator may be at work there
			if err := c.whole(ctx, s); err != nil {
				return fmt.Errorf("%s: its servers have to be whole before they are replaced: %w", s.Name, err)
			}
		}
		if err := c.reconfigure(ctx, s, []string{"server"}, o); err != nil {
			return err
		}
		err = c.until(ctx, s.Name, "the servers to follow "+site.Name, func(ctx context.Context) (string, error) {
			missing, err := c.follows(ctx, s, site.Name)
			if err == nil && missing == "" {
				missing, err = missingServers(ctx, c.Reach(s.Name), s)
			}
			return missing, err
		})
		if err != nil {
			return err
		}
		c.say(fmt.Sprintf("%s: its servers follow %s", s.Name, site.Name))
	}
	err := c.until(ctx, site.Name, "Nomad to be the authority", func(ctx context.Context) (string, error) {
		owns, err := c.Reach(site.Name).Nomad.OwnsAccess(ctx)
		if err == nil && !owns {
			return "what is written there is written at another region: its servers have the old configuration", nil
		}
		return "", err
	})
	if err != nil {
		return err
	}
	c.say(site.Name + ": it is the authority over policies and tokens")
	if c.Cloud == nil {
		c.say("edge and stream nodes: configure them anew, too, one after the other (NEARCAST_PRIMARY_SITE=" + site.Name + ", install.sh)")
		return nil
	}
	for _, s := range sites {
		if err := c.reconfigure(ctx, s, Roles[1:], o); err != nil {
			return err
		}
	}
	return nil
}

// follows says why a site's servers do not have the primary site yet, as Consul knows it.
func (c *Cluster) follows(ctx context.Context, s Site, primary string) (missing string, err error) {
	follows, err := c.Reach(s.Name).Consul.Follows(ctx)
	if err == nil && follows != primary {
		return fmt.Sprintf("Consul follows %s", follows), nil
	}
	return "", err
}

// reconfigure replaces nodes of a site, by the cloud or by the operator.
func (c *Cluster) reconfigure(ctx context.Context, s Site, roles []string, o PromoteOptions) error {
	if c.Cloud == nil {
		c.say(fmt.Sprintf("%s: set NEARCAST_PRIMARY_SITE=%s in /etc/nearcast/provision.env of its servers, and run install.sh there, one server after the other", s.Name, c.Outputs.Primary().Name))
		return nil
	}
	o.Roll.Sites, o.Roll.Roles, o.Roll.Lost = []Site{s}, nil, o.Lost
	for _, role := range roles {
		if s.Groups[role] != "" {
			o.Roll.Roles = append(o.Roll.Roles, role)
		}
	}
	if len(o.Roll.Roles) == 0 {
		return nil
	}
	return c.Roll(ctx, o.Roll)
}

// behind counts the objects of a site's bucket that another one's has not.
func (c *Cluster) behind(ctx context.Context, from, to Site) (missing, total int, err error) {
	objects := [2]map[string]int64{}
	for i, site := range []Site{from, to} {
		cloud, err := c.Cloud(site.Name)
		if err != nil {
			return 0, 0, err
		}
		if objects[i], err = cloud.Objects(ctx, site.ContentBucket, time.Time{}, mostObjects); err != nil {
			return 0, 0, err
		}
	}
	for key, size := range objects[0] {
		if have, ok := objects[1][key]; !ok || have != size {
			missing++
		}
	}
	return missing, len(objects[0]), nil
}
