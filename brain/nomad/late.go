package nomad

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"slices"
	"strconv"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/internal/wire"
)

// Nomad evaluates no job of type sysbatch for a node that comes later, and to have it evaluated once more
// is no help for long: an hour after a node's task has ended Nomad has forgotten it, and would run it again
// on each node. So a Follower notes which nodes it has seen, and begins turns for the others.

// nodesPath is the variable in wire.FetchNamespace that has the nodes that a Follower has seen, and for
// each app the nodes that came later and have yet to fetch it.
const nodesPath = "nearcast/prefetch-nodes"

// Nomad takes no variable of more than 64 KiB. Nodes that find no room in it are taken in later.
const nodesLimit = 56 << 10

const seenItem, lateItem = "seen", "late "

// fleet is what a Follower knows of the nodes. It names them by the first eight digits of their ids.
type fleet struct {
	there map[string]bool   // Nomad has the node
	ready map[string]uint64 // can fetch now, and the index of the node's last change
	seen  map[string]bool
	// late has, for each app, the nodes that came later and have yet to fetch it, each as NODE-INDEX. The index is of
	// the node's last change when it was taken in: it tells a node that comes again from the one it was.
	late  map[string][]string
	rests map[string][]string // of late, those whose turn begins again later
	index uint64              // of the variable
	fresh bool                // there was no variable: the turns of all apps reach the nodes that are there
}

func shortNode(id string) string { return id[:min(8, len(id))] }

func entryOf(node string, index uint64) string { return fmt.Sprintf("%s-%d", node, index) }

func nodeOf(entry string) string {
	node, _, _ := strings.Cut(entry, "-")
	return node
}

func sinceOf(entry string) uint64 {
	_, index, _ := strings.Cut(entry, "-")
	since, _ := strconv.ParseUint(index, 10, 64)
	return since
}

// fleetOf is made of Nomad's nodes and the variable, which may be nil.
func fleetOf(nodes []*api.NodeListStub, driver string, v *api.Variable) *fleet {
	f := &fleet{there: map[string]bool{}, ready: map[string]uint64{}, seen: map[string]bool{}, late: map[string][]string{}, rests: map[string][]string{}}
	for _, n := range nodes {
		id := shortNode(n.ID)
		f.there[id] = true
		info := n.Drivers[driver]
		if n.Status == api.NodeStatusReady && n.SchedulingEligibility == api.NodeSchedulingEligible && info != nil && info.Detected && info.Healthy {
			f.ready[id] = n.ModifyIndex
		}
	}
	if v == nil {
		f.fresh = true
		return f
	}
	f.index = v.ModifyIndex
	for key, value := range v.Items {
		if app, ok := strings.CutPrefix(key, lateItem); ok {
			f.late[app] = strings.Fields(value)
		} else if key == seenItem {
			for _, node := range strings.Fields(value) {
				f.seen[node] = true
			}
		}
	}
	return f
}

// items is what the variable has to say. Nodes that Nomad has forgotten are not in it.
func (f *fleet) items() api.VariableItems {
	gone := func(entry string) bool { return !f.there[nodeOf(entry)] }
	seen := slices.DeleteFunc(slices.Sorted(maps.Keys(f.seen)), gone)
	items := api.VariableItems{seenItem: strings.Join(seen, " ")}
	for app, entries := range f.late {
		if left := slices.DeleteFunc(slices.Clone(entries), gone); len(left) > 0 {
			items[lateItem+app] = strings.Join(left, " ")
		}
	}
	return items
}

func (f *fleet) size() (size int) {
	for key, value := range f.items() {
		size += len(key) + len(value)
	}
	return size
}

// take takes in the nodes that are ready for the first time: they are to fetch apps.
func (f *fleet) take(apps []string) (changed bool) {
	if f.fresh {
		for node := range f.ready {
			f.seen[node] = true
		}
		return true
	}
	size := f.size()
	for _, node := range slices.Sorted(maps.Keys(f.ready)) {
		if f.seen[node] {
			continue
		}
		entry := entryOf(node, f.ready[node])
		more := len(node) + 1
		for _, app := range apps {
			more += needs(app, entry)
		}
		if size += more; size > nodesLimit {
			break
		}
		f.seen[node], changed = true, true
		for app, entries := range f.late { // from when it came before
			f.late[app] = slices.DeleteFunc(entries, func(e string) bool { return nodeOf(e) == node })
		}
		for _, app := range apps {
			f.late[app] = append(f.late[app], entry)
		}
	}
	return changed
}

// next are the nodes of an app's next turn: those that came first, and no more than a quarter of all.
func (f *fleet) next(app string) (entries []string) {
	for _, e := range f.late[app] {
		if _, ready := f.ready[nodeOf(e)]; ready && !slices.Contains(f.rests[app], e) && len(entries) < (len(f.ready)+3)/4 {
			entries = append(entries, e)
		}
	}
	return entries
}

// awaits reports whether the end of a turn is yet to be noted.
func (f *fleet) awaits(t turn) bool {
	return slices.ContainsFunc(t.late, func(e string) bool { return slices.Contains(f.late[t.of], e) })
}

// rest has the nodes of a turn wait until it begins again.
func (f *fleet) rest(t turn) { f.rests[t.of] = append(f.rests[t.of], t.late...) }

// had notes that a turn of later nodes is over. A node that is away now may have missed it: it has a turn of its own when it
// is back, by another entry.
func (f *fleet) had(t turn) {
	var left []string
	for _, e := range f.late[t.of] {
		if _, ready := f.ready[nodeOf(e)]; !slices.Contains(t.late, e) {
			left = append(left, e)
		} else if !ready {
			left = append(left, entryOf(nodeOf(e), sinceOf(e)+1))
		}
	}
	f.late[t.of] = left
}

// needs is how many bytes of the variable an entry takes.
func needs(app, entry string) int { return len(lateItem) + len(app) + len(entry) + 1 }

// done notes that the turns of an app's version are over. began has the index at which each of them began, in the order of
// waves, and later the same by node for turns of later nodes. A turn reaches each node that is ready then. A node that
// has changed since may have missed it: it is to fetch the app, as one that came later. One that is away now counts as
// new when it is back.
func (f *fleet) done(app string, began []uint64, later map[string]uint64) {
	f.late[app] = slices.DeleteFunc(f.late[app], func(e string) bool { return sinceOf(e) < began[quarterOf(nodeOf(e))] })
	waits := map[string]bool{}
	for _, e := range f.late[app] {
		waits[nodeOf(e)] = true
	}
	size := f.size()
	for _, node := range slices.Sorted(maps.Keys(f.seen)) {
		changed, ready := f.ready[node]
		if ready && (waits[node] || changed < max(began[quarterOf(node)], later[node])) {
			continue
		}
		entry := entryOf(node, changed)
		if more := needs(app, entry); ready && size+more <= nodesLimit {
			f.late[app], size = append(f.late[app], entry), size+more
		} else {
			delete(f.seen, node)
		}
	}
}

// lookAtNodes reads the fleet.
func (f *Follower) lookAtNodes(ctx context.Context) (*fleet, error) {
	nodes, _, err := f.checks.api.Nodes().List(query(ctx))
	if err != nil {
		return nil, fmt.Errorf("list nodes: %w", err)
	}
	v, _, err := f.checks.api.Variables().Peek(nodesPath, inFetches(ctx))
	if err != nil {
		return nil, fmt.Errorf("read variable %s: %w", nodesPath, err)
	}
	return fleetOf(nodes, f.checks.driver, v), nil
}

// keep writes the fleet.
func (f *Follower) keep(ctx context.Context, nodes *fleet) error {
	v := &api.Variable{Namespace: wire.FetchNamespace, Path: nodesPath, ModifyIndex: nodes.index, Items: nodes.items()}
	written, _, err := f.checks.api.Variables().CheckedUpdate(v, toFetches(ctx))
	if err != nil {
		return fmt.Errorf("write variable %s: %w", nodesPath, err)
	}
	nodes.index, nodes.fresh = written.ModifyIndex, false
	return nil
}

// meet takes new nodes in, and notes which turns of later nodes are over.
func (f *Follower) meet(ctx context.Context, s *step) error {
	var apps []string
	for id, app := range s.apps {
		if f.fetches(app) {
			apps = append(apps, id)
		}
	}
	changed := false
	for app := range s.nodes.late {
		if !slices.Contains(apps, app) {
			delete(s.nodes.late, app)
			changed = true
		}
	}
	for _, t := range s.turns {
		if app := s.apps[t.of]; app != nil && t.isOf(app) && !t.busy && !t.failed && !t.empty && s.nodes.awaits(t) {
			s.nodes.had(t)
			changed = true
		}
	}
	if s.nodes.take(apps) || changed {
		return f.keep(ctx, s.nodes)
	}
	return nil
}

// lateLine are the apps that nodes that came later have yet to fetch, in the order of their turns. The one
// that was registered last goes first: for it people come, and with them the nodes. An app whose present version
// is yet to be fetched has its other turns first, but for those that begin again later.
func (f *Follower) lateLine(s *step) (apps []*api.JobListStub) {
	for id := range s.nodes.late {
		if app := s.apps[id]; app != nil && f.fetches(app) && (!slices.Contains(s.due, app) || s.rests(app)) && len(s.nodes.next(id)) > 0 {
			apps = append(apps, app)
		}
	}
	slices.SortFunc(apps, func(a, b *api.JobListStub) int {
		return cmp.Or(cmp.Compare(f.refused[a.ID], f.refused[b.ID]), cmp.Compare(b.JobModifyIndex, a.JobModifyIndex))
	})
	return apps
}

// rests reports whether of an app's turns for all nodes none goes on, and those that are left begin again later.
func (s *step) rests(app *api.JobListStub) bool {
	for n := range waves {
		if t := s.turns[turnJob(app.ID, n)]; !t.isOf(app) || t.busy || t.failed {
			return false
		}
	}
	return true
}

// beginLate begins a turn for nodes that came later.
func (f *Follower) beginLate(ctx context.Context, s *step, app *api.JobListStub) (bool, error) {
	entries := s.nodes.next(app.ID)
	var nodes []string
	for _, e := range entries {
		nodes = append(nodes, nodeOf(e))
	}
	id := lateJob(app.ID, entries[0])
	meta := map[string]string{"prefetch_nodes": strings.Join(entries, " ")}
	return f.begin(ctx, app, id, "^("+strings.Join(nodes, "|")+")", meta, s.turns[id].job)
}
