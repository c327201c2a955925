package cloud

import (
	"cmp"
	"context"
	"errors"
	"fmt"
)

// Plan says what Up would do, and changes nothing. pending is how many things Up would wait for or
// change; an error is what would make it fail.
func (c *Cluster) Plan(ctx context.Context, o Options) (pending int, err error) {
	counts := make(chan int, len(o.sites(c)))
	err = c.each(o.sites(c), func(site Site) error {
		n, err := c.planSite(ctx, site, o.Settings)
		counts <- n
		return err
	})
	close(counts)
	for n := range counts {
		pending += n
	}
	return pending, err
}

func (c *Cluster) planSite(ctx context.Context, site Site, settings []Setting) (pending int, err error) {
	say := func(format string, args ...any) {
		pending++
		c.say(site.Name + ": " + fmt.Sprintf(format, args...))
	}
	at := c.Reach(site.Name)
	missing, err := missingServers(ctx, at, site)
	if err != nil {
		return pending, err
	}
	if missing != "" {
		say("would wait for servers: %s", missing)
	}
	if missing, err = missingKeys(ctx, at.Nomad); err != nil {
		return pending, err
	}
	if missing != "" {
		say("would wait for the access control: %s", missing)
	}
	ready, err := countReady(ctx, at.Nomad, "edge")
	if err != nil {
		return pending, err
	}
	if ready < site.EdgeNodes-1 {
		say("would wait for edge nodes: %d of %d are ready", ready, site.EdgeNodes)
	}
	items, _, err := at.Nomad.Variable(ctx, routerVariable)
	if err != nil {
		return pending, err
	}
	if items["operator_token"] == "" {
		say("would give the routers a token for operators")
	}
	if len(site.TURNURLs) > 0 {
		if items, _, err = at.Nomad.Variable(ctx, turnVariable); err != nil {
			return pending, err
		}
		if items["secret"] == "" {
			say("would make a secret for TURN")
		}
	}
	for _, job := range c.Outputs.Jobs(site, settings) {
		if missing, err := missingRights(ctx, at.Nomad, job); err != nil || missing != "" {
			return pending, cmp.Or(err, errors.New(missing))
		}
		planned, err := at.Nomad.Plan(ctx, job)
		if err != nil {
			return pending, err
		}
		if planned.New || len(planned.Changes) > 0 || planned.Unplaced != "" {
			pending++
		}
		c.say(site.Name + ": " + inWords(planned))
	}
	return pending, nil
}
