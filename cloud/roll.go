package cloud

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"slices"
	"strings"
	"time"
)

// Refresh is a replacement of a group's nodes.
type Refresh struct {
	ID, Status, Reason string
	Percent            int
}

// Going reports whether it is not over.
func (r Refresh) Going() bool {
	return slices.Contains([]string{"Pending", "InProgress", "Baking", "Cancelling", "RollbackInProgress"}, r.Status)
}

// Preferences say how a group replaces its nodes.
type Preferences struct {
	// First is the percentage of the nodes after which the group waits for Pause.
	First int
	Pause time.Duration
	// Alarms stop the replacement when one of them goes off.
	Alarms []string
}

// RollOptions say what Roll replaces.
type RollOptions struct {
	Sites []Site   // default: all
	Roles []string // default: all, in their order
	Lost  string   // a site that is given up, and not asked
	// Pause is the wait after a group's first nodes, in which an operator looks.
	Pause time.Duration
	// Within is for how long at most a group may take; default 6 h: sessions are waited for.
	Within time.Duration
	// Back replaces nodes by those of the version that they had before the last replacement.
	Back bool
}

// Roll replaces the nodes of sites by nodes with the latest image and release, one site after
// the other, servers first. Between two groups the quorum must be whole. It stops at the first
// fault, and cancels the replacement that it waits for where servers are in danger, a new node was given
// up, or the time is over. A group whose
// nodes are all of the latest kind is left alone, so a second run goes on where the first one
// stopped.
//
// With Back, stream nodes come first and servers last: a client of Nomad must not be newer than its
// servers. Other sites may be sick. Groups of which it is not known what they had before stay, and the error
// names them; servers stay where such a pool does.
func (c *Cluster) Roll(ctx context.Context, o RollOptions) error {
	if c.Cloud == nil {
		return errors.New("nodes are replaced by the cloud's groups, and there is no account (--no-aws)")
	}
	const longest = 48 * time.Hour // that AWS takes
	if o.Pause < 0 || o.Pause > longest {
		return fmt.Errorf("the pause is %s; it has to be from 0 to %s", o.Pause, longest)
	}
	if len(o.Sites) == 0 {
		o.Sites = c.Outputs.Sites
	}
	if o.Within == 0 {
		o.Within = 6 * time.Hour
	}
	if len(o.Roles) == 0 {
		o.Roles = Roles
	}
	for _, role := range o.Roles {
		if !slices.Contains(Roles, role) {
			return fmt.Errorf("there is no role %q; there are: %s", role, strings.Join(Roles, ", "))
		}
	}
	if !slices.ContainsFunc(o.Sites, func(s Site) bool {
		return slices.ContainsFunc(o.Roles, func(role string) bool { return s.Groups[role] != "" })
	}) {
		return fmt.Errorf("nothing was replaced: the outputs name no group of the roles %s at these sites", strings.Join(o.Roles, ", "))
	}
	// Nothing is replaced anywhere while a site is not whole: after a bad release the next site
	// would follow the first.
	left := slices.DeleteFunc(slices.Clone(c.Outputs.Sites), func(s Site) bool { return s.Name == o.Lost })
	roles := Roles
	if o.Back {
		left, roles = o.Sites, slices.Clone(Roles)
		slices.Reverse(roles)
	}
	var back map[string]bool
	var stay []string
	if o.Back { // before servers are looked at: a release that breaks them must not be launched any more
		var err error
		if back, stay, err = c.takeBack(ctx, o, roles); err != nil {
			return err
		}
	}
	if err := c.each(left, func(site Site) error { return c.whole(ctx, site) }); err != nil {
		done := "nothing was replaced"
		if o.Back {
			done = "new nodes get the version of before, and nothing was replaced. When the servers are whole, run the command again"
		}
		return errors.Join(fmt.Errorf("%s: %w", done, err), staying(stay))
	}
	if !o.Back { // before any wait: after it no old node may be left
		if err := c.each(left, func(site Site) error { return c.rememberAll(ctx, site) }); err != nil {
			return fmt.Errorf("nothing was replaced: %w", err)
		}
	}
	for _, site := range o.Sites {
		for _, role := range roles {
			group := site.Groups[role]
			if group == "" || !slices.Contains(o.Roles, role) || o.Back && !back[site.Name+" "+group] {
				continue
			}
			if err := c.roll(ctx, site, role, group, o); err != nil {
				end := "mend it, and run the command again"
				if !o.Back {
					end += ", or take the release back: nearcast cloud roll --back"
				}
				return errors.Join(fmt.Errorf("%s: %s: %w. Nothing after it was replaced; %s", site.Name, role, err, end), staying(stay))
			}
		}
	}
	return staying(stay)
}

// whole says what servers of a site lack.
func (c *Cluster) whole(ctx context.Context, site Site) error {
	missing, err := missingServers(ctx, c.Reach(site.Name), site)
	if err == nil && missing != "" {
		err = errors.New(missing)
	}
	return err
}

// roll replaces one group's nodes.
func (c *Cluster) roll(ctx context.Context, site Site, role, group string, o RollOptions) error {
	ctx, cancel := context.WithTimeout(ctx, o.Within)
	defer cancel()
	cloud, err := c.Cloud(site.Name)
	if err != nil {
		return err
	}
	if err := c.whole(ctx, site); err != nil {
		return fmt.Errorf("the site is not whole before its nodes are replaced: %w", err)
	}
	last, err := cloud.Last(ctx, group)
	if err != nil {
		return err
	}
	if last.Going() {
		c.say(fmt.Sprintf("%s: %s: goes on with the replacement %s, which is at %d %%", site.Name, role, last.ID, last.Percent))
		if err := c.replaced(ctx, site, role, group, cloud, last.ID, ""); err != nil {
			return err
		}
	}
	// Also after one that went on: it may have begun before the latest release. Nodes of the latest
	// kind stay.
	first := 34
	if strings.HasPrefix(role, "stream-") {
		first = 10
	}
	id, err := cloud.Refresh(ctx, group, Preferences{First: first, Pause: o.Pause, Alarms: site.Alarms})
	if err != nil {
		return err
	}
	c.say(fmt.Sprintf("%s: %s: replaces the nodes of %s (%s); after the first ones it waits %s", site.Name, role, group, id, o.Pause))
	return c.replaced(ctx, site, role, group, cloud, id, last.ID)
}

// replaced waits until a replacement is complete, and the servers are whole after it. before is the
// one before it, which the account may still name for a while.
func (c *Cluster) replaced(ctx context.Context, site Site, role, group string, cloud Cloud, id, before string) error {
	sick, blind := 0, 0
	cancelled := func(why error) error {
		return errors.Join(fmt.Errorf("%w; the replacement is cancelled", why), cloud.Cancel(context.WithoutCancel(ctx), group))
	}
	reports, err := newReports(ctx, site, cloud, group)
	if err != nil {
		return err
	}
	err = c.until(ctx, site.Name, role, func(ctx context.Context) (string, error) {
		now, err := cloud.Last(ctx, group)
		if err != nil {
			return "", err
		}
		switch {
		case now.ID != id && now.ID == before:
			return "it has not begun yet", nil
		case now.ID != id:
			return "", stop{fmt.Errorf("somebody else began the replacement %s", now.ID)}
		case now.Status == "Successful":
			return "", nil
		case !now.Going():
			return "", stop{fmt.Errorf("the replacement ended as %s: %s", now.Status, now.Reason)}
		}
		// The group would start one after the other: nodes that do not come up set off no alarm while the old ones are there.
		lost, lookErr := reports.look(ctx)
		if lost != "" {
			return "", stop{cancelled(errors.New(lost))}
		}
		// A new server has its vote before an old one goes, so fewer than all are wrong, once an
		// election had its time.
		danger, err := c.danger(ctx, site)
		if err != nil {
			danger = err.Error()
		}
		switch silent := (*url.Error)(nil); {
		case danger == "":
			sick, blind = 0, 0
		case errors.As(err, &silent): // a tunnel ends with its server
			if blind++; blind >= blindLooks {
				return "", stop{cancelled(fmt.Errorf("nobody answers for the servers: %s", danger))}
			}
			return "nobody answers for the servers; if the tunnel is gone, open it again: " + danger, nil
		default:
			if sick++; sick >= dangerLooks {
				return "", stop{cancelled(fmt.Errorf("servers are in danger: %s", danger))}
			}
		}
		if lookErr != nil {
			return fmt.Sprintf("%d %% are replaced; whether a new node was given up is not known: %v", now.Percent, lookErr), nil
		}
		return fmt.Sprintf("%d %% are replaced (%s) %s", now.Percent, now.Status, now.Reason), nil
	})
	switch {
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		return cancelled(err)
	case err != nil:
		return err
	}
	return c.until(ctx, site.Name, "servers after "+role, func(ctx context.Context) (string, error) {
		return missingServers(ctx, c.Reach(site.Name), site)
	})
}

// How often in a row a look has to fail until the replacement is cancelled, at one each ten seconds.
const (
	dangerLooks = 6  // servers are missing: an election takes seconds
	blindLooks  = 60 // nobody answers: the replacement itself ends the server of the tunnel
)

// danger says that fewer servers than the site is to have are healthy with a vote. More may be
// there, also such as start.
func (c *Cluster) danger(ctx context.Context, site Site) (string, error) {
	at := c.Reach(site.Name)
	for _, of := range []struct {
		name string
		ask  func(context.Context) ([]Server, error)
	}{{"Consul", at.Consul.Servers}, {"Nomad", at.Nomad.Servers}} {
		servers, err := of.ask(ctx)
		if err != nil {
			return "", err
		}
		well, leader := 0, false
		for _, s := range servers {
			if s.Healthy && s.Voter {
				well++
				leader = leader || s.Leader
			}
		}
		if !leader || well < site.Servers {
			return fmt.Sprintf("%s: %d of %d servers are healthy and have a vote; %s", of.name, well, site.Servers, quorum(servers, site.Servers)), nil
		}
	}
	return "", nil
}
