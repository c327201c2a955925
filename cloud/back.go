package cloud

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// Template is the launch template of a group.
type Template struct {
	ID      string
	Version int         // that new nodes get; 0 where the group names none by its number
	Nodes   map[int]int // how many nodes have which version; 0 is another template
}

// before is the version below the group's own that most nodes have; 0 if none has one.
func (t Template) before() (version int) {
	for _, v := range slices.Sorted(maps.Keys(t.Nodes)) {
		if v > 0 && v < t.Version && t.Nodes[v] >= t.Nodes[version] {
			version = v
		}
	}
	return version
}

// The site's Consul has a note of the version that the nodes of a group had before they were replaced: when
// all are, nothing else says it. It names the template too, whose versions begin anew when Terraform makes
// another one.
func beforeNote(group string) string { return "before/" + group }

func (c *Cluster) remember(ctx context.Context, site Site, group string, t Template, version int) error {
	notes := c.Reach(site.Name).Consul
	text, index, err := notes.Note(ctx, beforeNote(group))
	if want := fmt.Sprintf("%s %d", t.ID, version); err == nil && text != want {
		var did bool
		if did, err = notes.PutNote(ctx, beforeNote(group), want, index); err == nil && !did {
			err = ErrChanged
		}
	}
	if err != nil {
		return fmt.Errorf("note the version %d, which the nodes of %s had before: %w", version, group, err)
	}
	return nil
}

// remembered is the version of the note; 0 if there is none of this template.
func (c *Cluster) remembered(ctx context.Context, site Site, group string, t Template) (version int, err error) {
	text, _, err := c.Reach(site.Name).Consul.Note(ctx, beforeNote(group))
	if err != nil {
		return 0, fmt.Errorf("read which version the nodes of %s had before: %w", group, err)
	}
	if number, ok := strings.CutPrefix(text, t.ID+" "); ok {
		_, err = fmt.Sscan(number, &version)
	}
	return version, err
}

// takeBack gives groups the version of their template back that their nodes had before the last
// replacement. First all of them: a group that grows meanwhile would launch the version that is taken
// back. It returns those whose nodes are to be replaced.
func (c *Cluster) takeBack(ctx context.Context, o RollOptions, roles []string) (groups map[string]bool, err error) {
	groups = map[string]bool{}
	for _, site := range o.Sites {
		for _, role := range roles {
			group := site.Groups[role]
			if group == "" || !slices.Contains(o.Roles, role) {
				continue
			}
			did, err := c.takeGroupBack(ctx, site, role, group)
			if err != nil {
				return nil, fmt.Errorf("%s: %s: %w. Run the command again", site.Name, role, err)
			}
			groups[site.Name+" "+group] = did
		}
	}
	if !slices.Contains(slices.Collect(maps.Values(groups)), true) {
		return nil, errors.New("there is nothing to take back: no earlier version is known of these groups. Give Terraform the earlier release, apply, and roll")
	}
	return groups, nil
}

// takeGroupBack reports whether nodes of the group are to be replaced.
func (c *Cluster) takeGroupBack(ctx context.Context, site Site, role, group string) (bool, error) {
	cloud, err := c.Cloud(site.Name)
	if err != nil {
		return false, err
	}
	last, err := cloud.Last(ctx, group)
	if err != nil {
		return false, err
	}
	if last.Going() {
		if last.Status != "Cancelling" {
			if err := cloud.Cancel(ctx, group); err != nil {
				return false, err
			}
		}
		if err := c.until(ctx, site.Name, role, func(ctx context.Context) (string, error) {
			now, err := cloud.Last(ctx, group)
			if err != nil || !now.Going() {
				return "", err
			}
			return "the replacement " + now.ID + " is cancelled", nil
		}); err != nil {
			return false, err
		}
	}
	t, err := cloud.Template(ctx, group)
	if err != nil {
		return false, err
	}
	to, err := c.remembered(ctx, site, group, t)
	if err != nil {
		return false, err
	}
	// A group that was taken back has the noted version, and goes no further.
	if before := t.before(); before > 0 && to != t.Version {
		to = before
	}
	if to == 0 || to >= t.Version {
		other := len(t.Nodes) > 1 || len(t.Nodes) == 1 && t.Nodes[t.Version] == 0
		what := "no version before it is known, and it stays at it"
		if other {
			what = "it was taken back to it, and its other nodes are replaced"
		}
		c.say(fmt.Sprintf("%s: %s: new nodes of %s get the version %d of its template: %s", site.Name, role, group, t.Version, what))
		return other, nil
	}
	// The note first: a second run must not go further back.
	if err := c.remember(ctx, site, group, t, to); err != nil {
		return false, err
	}
	if err := cloud.UseTemplate(ctx, group, to); err != nil {
		return false, err
	}
	c.say(fmt.Sprintf("%s: %s: new nodes of %s get the version %d of its template again, and not %d", site.Name, role, group, to, t.Version))
	return true, nil
}
