package cloud

import (
	"context"
	"fmt"
	"maps"
	"strings"
	"time"
)

// reports are what nodes of a group write that are given up while it is replaced.
type reports struct {
	site    Site
	cloud   Cloud
	group   string
	known   map[string]bool // that are dealt with
	version int             // of the new nodes
	of      map[string]int  // of each node that was seen
}

func newReports(ctx context.Context, site Site, cloud Cloud, group string) (*reports, error) {
	r := &reports{site: site, cloud: cloud, group: group, known: map[string]bool{}, of: map[string]int{}}
	before, err := givenUp(ctx, site, cloud, group)
	if err != nil {
		return nil, err
	}
	for instance := range before {
		r.known[instance] = true
	}
	return r, r.learn(ctx)
}

// learn asks for the versions of nodes. Those that ended are remembered.
func (r *reports) learn(ctx context.Context) error {
	t, err := r.cloud.Template(ctx, r.group)
	if err == nil {
		r.version = t.Version
		maps.Copy(r.of, t.Of)
	}
	return err
}

// look names a node of the new version that was given up. One of another version says nothing of the new one: it may
// be what is replaced because it dies. A node of which nothing is known counts as new.
func (r *reports) look(ctx context.Context) (lost string, err error) {
	now, err := givenUp(ctx, r.site, r.cloud, r.group)
	for instance, text := range now {
		if r.known[instance] {
			continue
		}
		if _, ok := r.of[instance]; !ok {
			if err := r.learn(ctx); err != nil {
				return "", err
			}
		}
		if version, ok := r.of[instance]; !ok || version == r.version {
			return fmt.Sprintf("the node %s was given up: %s", instance, text), nil
		}
		r.known[instance] = true
	}
	return "", err
}

// givenUp are the nodes of a group that were given up lately, with what each wrote.
func givenUp(ctx context.Context, site Site, cloud Cloud, group string) (map[string]string, error) {
	nodes := map[string]string{}
	if site.SystemBucket == "" { // outputs of an earlier release
		return nodes, nil
	}
	const lately = 6 * time.Hour
	reasons, err := cloud.Reasons(ctx, site.SystemBucket, group, time.Now().Add(-lately))
	if err != nil {
		return nil, fmt.Errorf("look for nodes that were given up: %w", err)
	}
	for _, r := range reasons {
		// A node whose user data fails keeps its output there too, and goes on. "nearcast provision"
		// writes this when it gives up: ready of a node that starts, health of one that ran.
		if strings.Contains(r.Text, fmt.Sprintf("%s of %s in %s", r.Instance, group, site.Name)) {
			nodes[r.Instance] = r.Text
		}
	}
	return nodes, nil
}
