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
	Nodes   map[int]int // how many nodes have which version, without those that end; 0 is another template
	// Of is the version of each node, also of those that end.
	Of map[string]int
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

// others reports whether nodes are not of the group's own version.
func (t Template) others() bool {
	return len(t.Nodes) > 1 || len(t.Nodes) == 1 && t.Nodes[t.Version] == 0
}

// The site's Consul has a note for each group: the version of its launch template that was rolled out last,
// and the version before it. When all nodes are replaced, nothing else says that. It names the template
// too, whose versions begin anew when Terraform makes another one.
type note struct {
	template string
	version  int
	before   int  // 0: not known
	taken    bool // version is one that the group was taken back to: it goes no further
}

func (n note) String() string {
	if n.taken {
		return fmt.Sprintf("%s %d taken", n.template, n.version)
	}
	return fmt.Sprintf("%s %d %d", n.template, n.version, n.before)
}

// readNote is the zero note for what it does not understand.
func readNote(text string) (n note) {
	word := ""
	if _, err := fmt.Sscan(text, &n.template, &n.version, &word); err != nil {
		return note{}
	}
	if n.taken = word == "taken"; !n.taken {
		if _, err := fmt.Sscan(word, &n.before); err != nil {
			return note{}
		}
	}
	return n
}

func beforeNote(group string) string { return "before/" + group }

// remembered is the note of a group, with its index.
func (c *Cluster) remembered(ctx context.Context, site Site, group string) (note, uint64, error) {
	text, index, err := c.Reach(site.Name).Consul.Note(ctx, beforeNote(group))
	if err != nil {
		return note{}, 0, fmt.Errorf("read which version the nodes of %s had before: %w", group, err)
	}
	return readNote(text), index, nil
}

func (c *Cluster) write(ctx context.Context, site Site, group string, n note, index uint64) error {
	did, err := c.Reach(site.Name).Consul.PutNote(ctx, beforeNote(group), n.String(), index)
	if err == nil && !did {
		err = ErrChanged
	}
	if err != nil {
		return fmt.Errorf("note which version the nodes of %s had before: %w", group, err)
	}
	return nil
}

// remember notes what the nodes of a group have, before they are replaced. What is noted of this version stays: a
// second run finds nodes that the first one has replaced.
func (c *Cluster) remember(ctx context.Context, site Site, group string, t Template) error {
	had, index, err := c.remembered(ctx, site, group)
	if err != nil || t.Version == 0 || had.template == t.ID && had.version == t.Version {
		return err
	}
	n := note{template: t.ID, version: t.Version, before: t.before()}
	// An empty pool had what was rolled out last, and so had nodes that something else replaced meanwhile,
	// unless there was a version in between.
	if n.before == 0 && had.template == t.ID && had.version < t.Version && (len(t.Nodes) == 0 || had.version == t.Version-1) {
		n.before = had.version
	}
	return c.write(ctx, site, group, n, index)
}

// rememberAll does it for all groups of a site, also those that this roll does not reach: they have the new version too, and
// launch it when they grow.
func (c *Cluster) rememberAll(ctx context.Context, site Site) error {
	cloud, err := c.Cloud(site.Name)
	if err != nil {
		return err
	}
	for _, role := range Roles {
		group := site.Groups[role]
		if group == "" {
			continue
		}
		t, err := cloud.Template(ctx, group)
		if err == nil {
			err = c.remember(ctx, site, group, t)
		}
		if err != nil {
			return fmt.Errorf("%s: %w", role, err)
		}
	}
	return nil
}

// earlier is what is to be done with a group to take it back: the version that it gets, or why it has to stay.
type earlier struct {
	site        Site
	role, group string
	cloud       Cloud
	template    Template
	index       uint64 // of the note
	to          int    // 0: it stays
	stays       string // why; "" if it was taken back before
}

func (e earlier) name() string { return e.site.Name + " " + e.group }

func (c *Cluster) earlier(ctx context.Context, site Site, role, group string) (e earlier, err error) {
	e = earlier{site: site, role: role, group: group}
	if e.cloud, err = c.Cloud(site.Name); err != nil {
		return e, err
	}
	if e.template, err = e.cloud.Template(ctx, group); err != nil {
		return e, err
	}
	n, index, err := c.remembered(ctx, site, group)
	if err != nil {
		return e, err
	}
	e.index = index
	switch t := e.template; {
	case n.template != t.ID:
		e.stays = "no roll of this launch template is noted"
	case n.version == t.Version && n.taken, n.version > t.Version && n.before == t.Version:
		// It was taken back. The command may have been killed before it noted that.
	case n.version < t.Version && n.version == t.before():
		e.to = n.version // no roll began since the last apply, and some nodes have what was rolled out before
	case n.version != t.Version:
		e.stays = fmt.Sprintf("the last roll that is noted is of the version %d", n.version)
	case n.before == 0:
		e.stays = "the version before it is not known"
	default:
		e.to = n.before
	}
	return e, nil
}

// takeBack gives groups the version of their template back that their nodes had before the last roll. First all of
// them: a group that grows meanwhile would launch the version that is taken back. What goes on is cancelled
// before. It returns the groups whose nodes are to be replaced, and those that stay, with the reason.
func (c *Cluster) takeBack(ctx context.Context, o RollOptions, roles []string) (replace map[string]bool, stay []string, err error) {
	ctx, end := context.WithTimeout(ctx, o.Within)
	defer end()
	var groups []earlier
	for _, site := range o.Sites {
		clients := "" // that stay
		for _, role := range roles {
			group := site.Groups[role]
			if group == "" || !slices.Contains(o.Roles, role) {
				continue
			}
			e, err := c.earlier(ctx, site, role, group)
			if err != nil {
				return nil, nil, fmt.Errorf("%s: %s: %w. Nothing was changed", site.Name, role, err)
			}
			switch {
			case role == "server" && e.to > 0 && clients != "":
				e.to, e.stays = 0, "servers must not be older than the nodes of "+clients
			case e.stays != "":
				clients = group
			}
			if e.stays != "" {
				stay = append(stay, fmt.Sprintf("%s: %s stays at the version %d of its template: %s", site.Name, group, e.template.Version, e.stays))
			}
			groups = append(groups, e)
		}
	}
	if !slices.ContainsFunc(groups, func(e earlier) bool { return e.to > 0 || e.stays == "" && e.template.others() }) {
		return nil, nil, errors.Join(errors.New("there is nothing to take back. Give Terraform the earlier release, apply, and roll"), staying(stay))
	}
	if err := c.takeVersions(ctx, groups); err != nil {
		return nil, nil, err
	}
	replace = map[string]bool{}
	for _, e := range groups {
		replace[e.name()] = e.stays == "" && (e.to > 0 || e.template.others())
	}
	return replace, stay, nil
}

// takeVersions cancels what goes on in all groups, and gives each its version as soon as that is over.
func (c *Cluster) takeVersions(ctx context.Context, groups []earlier) error {
	var failed []error
	fail := func(e earlier, err error) bool {
		if err != nil {
			failed = append(failed, fmt.Errorf("%s: %s: %w", e.site.Name, e.role, err))
		}
		return err != nil
	}
	going := slices.DeleteFunc(slices.Clone(groups), func(e earlier) bool {
		last, err := e.cloud.Last(ctx, e.group)
		if err == nil && last.Going() && last.Status != "Cancelling" {
			err = e.cloud.Cancel(ctx, e.group)
		}
		return fail(e, err)
	})
	err := c.until(ctx, "all sites", "replacements that are cancelled", func(ctx context.Context) (string, error) {
		var names []string
		going = slices.DeleteFunc(going, func(e earlier) bool {
			last, err := e.cloud.Last(ctx, e.group)
			if err == nil && last.Going() {
				names = append(names, e.name())
				return false
			}
			if err == nil {
				err = c.takeVersion(ctx, e)
			}
			fail(e, err)
			return true
		})
		return strings.Join(names, ", "), nil
	})
	if err = errors.Join(append(failed, err)...); err != nil {
		return fmt.Errorf("%w. No node was replaced; run the command again", err)
	}
	return nil
}

// takeVersion gives a group its earlier version, and then notes that it goes no further.
func (c *Cluster) takeVersion(ctx context.Context, e earlier) error {
	version := e.to
	switch {
	case e.stays != "":
		return nil
	case e.to == 0:
		version = e.template.Version
		c.say(fmt.Sprintf("%s: %s: %s was taken back to the version %d of its template", e.site.Name, e.role, e.group, version))
	default:
		// Before it gets the version: a second run must not take it further back.
		if err := c.remember(ctx, e.site, e.group, e.template); err != nil {
			return err
		}
		_, index, err := c.remembered(ctx, e.site, e.group)
		if err != nil {
			return err
		}
		e.index = index
		if err := e.cloud.UseTemplate(ctx, e.group, e.to); err != nil {
			return err
		}
		c.say(fmt.Sprintf("%s: %s: new nodes of %s get the version %d of its template again, and not %d", e.site.Name, e.role, e.group, e.to, e.template.Version))
	}
	return c.write(ctx, e.site, e.group, note{template: e.template.ID, version: version, taken: true}, e.index)
}

// staying is the error about groups that were left.
func staying(groups []string) error {
	if len(groups) == 0 {
		return nil
	}
	return fmt.Errorf("not taken back, so give Terraform the earlier release for them, apply, and roll: %s", strings.Join(groups, "; "))
}
