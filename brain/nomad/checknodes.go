package nomad

import (
	"cmp"
	"context"
	"maps"
	"path"
	"slices"
	"strings"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/wire"
)

// nodes asks whether a node of the site can ever have a seat of the job.
func (c Checks) nodes(ctx context.Context, r *Report, job *api.Job, app brain.App) {
	q := query(ctx)
	q.Params = map[string]string{"resources": "true"}
	nodes, _, err := c.api.Nodes().List(q)
	if err != nil {
		r.note("whether a node is large enough was not checked: the token cannot see nodes")
		return
	}
	r.judge(nodes, c.driver, job, app)
}

// judge looks among the nodes for one that is in the job's pool and datacenters, is large enough,
// takes new seats, and has what the task asks for. It says what the last ones lack.
func (r *Report) judge(nodes []*api.NodeListStub, driver string, job *api.Job, app brain.App) {
	without := func(not func(*api.NodeListStub) bool) { nodes = slices.DeleteFunc(slices.Clone(nodes), not) }
	without(func(n *api.NodeListStub) bool {
		d := n.Drivers[driver]
		return d == nil || !d.Detected || n.NodeResources == nil
	})
	if len(nodes) == 0 {
		r.problem("no node of the site has the driver %s", driver)
		return
	}
	pool := cmp.Or(deref(job.NodePool), api.NodePoolDefault)
	without(func(n *api.NodeListStub) bool {
		in := func(datacenter string) bool {
			ok, err := path.Match(datacenter, n.Datacenter)
			return ok && err == nil
		}
		return pool != api.NodePoolAll && n.NodePool != pool || len(job.Datacenters) > 0 && !slices.ContainsFunc(job.Datacenters, in)
	})
	if len(nodes) == 0 { // one may come
		r.note("no node is now in the node pool %q and in the datacenters %q: whether one is large enough was not checked", pool, strings.Join(job.Datacenters, ", "))
		return
	}
	away := func(n *api.NodeListStub) bool { return n.Status != api.NodeStatusReady || n.Drain }
	noneReady := !slices.ContainsFunc(nodes, func(n *api.NodeListStub) bool { return !away(n) })
	var sizes []brain.Size
	for _, n := range nodes {
		sizes = append(sizes, sizeOf(n))
	}
	if why := app.Misfit(sizes); why != "" {
		r.problem("no node is large enough: %s (node pool %s)", why, pool)
		return
	}
	without(func(n *api.NodeListStub) bool { return app.Misfit([]brain.Size{sizeOf(n)}) != "" })
	large := names(nodes)
	without(func(n *api.NodeListStub) bool {
		return away(n) || n.SchedulingEligibility != api.NodeSchedulingEligible || !n.Drivers[driver].Healthy
	})
	if len(nodes) == 0 && noneReady { // Nomad lists nodes for a day that were removed, as of a pool that was scaled to zero
		r.note("no node of the node pool %q is ready now: %s: down or draining. Of these one would be large enough; what else the job asks for was not checked", pool, large)
		return
	}
	if len(nodes) == 0 {
		r.problem("no node that is large enough takes new seats now: %s: down, draining, not eligible, or the driver is unhealthy", large)
		return
	}
	for _, g := range job.TaskGroups {
		for _, t := range g.Tasks {
			needs := taskNeeds(t, driver)
			for _, what := range slices.Sorted(maps.Keys(needs)) {
				if !slices.ContainsFunc(nodes, needs[what]) {
					r.problem("no node that is large enough and takes new seats has %s: they are %s", what, names(nodes))
				}
			}
		}
	}
}

// sizeOf is what a node has for seats.
func sizeOf(n *api.NodeListStub) brain.Size {
	s := brain.Size{MHz: int(n.NodeResources.Cpu.CpuShares), MemoryMB: int(n.NodeResources.Memory.MemoryMB)}
	if kept := n.ReservedResources; kept != nil {
		s.MHz, s.MemoryMB = s.MHz-int(kept.Cpu.CpuShares), s.MemoryMB-int(kept.Memory.MemoryMB)
	}
	return s
}

func names(nodes []*api.NodeListStub) string {
	var all []string
	for _, n := range nodes {
		all = append(all, n.Name)
	}
	slices.Sort(all)
	const most = 5
	if len(all) > most {
		all = append(all[:most], "others")
	}
	return strings.Join(all, ", ")
}

// taskNeeds are what a task asks for that not every node has.
func taskNeeds(t *api.Task, driver string) map[string]func(*api.NodeListStub) bool {
	needs := map[string]func(*api.NodeListStub) bool{}
	if t.Resources != nil {
		for _, d := range t.Resources.Devices {
			count := uint64(1)
			if d.Count != nil {
				count = *d.Count
			}
			needs["the device "+d.Name] = func(n *api.NodeListStub) bool { return devices(n, d.Name) >= count }
		}
	}
	attribute := func(name, value string) func(*api.NodeListStub) bool {
		return func(n *api.NodeListStub) bool {
			have, said := n.Drivers[driver].Attributes["driver."+driver+"."+name]
			return !said || have != "" && (value == "" || have == value)
		}
	}
	if t.Config["network"] == wire.NetworkInternet {
		needs[`network = "internet"`] = attribute("internet", "true")
	}
	if on, _ := t.Config["gamepads"].(bool); on {
		needs["gamepads = true"] = attribute("gamepads", "true")
	}
	if blockOf(t.Config, "video")["codec"] == "vp8" {
		needs[`video.codec = "vp8"`] = attribute("encoders.vp8", "")
	}
	return needs
}

// devices are how many a node has, free or not, of those that a job names TYPE, VENDOR/TYPE or
// VENDOR/TYPE/MODEL.
func devices(n *api.NodeListStub, name string) (count uint64) {
	for _, d := range n.NodeResources.Devices {
		if name == d.Type || name == d.Vendor+"/"+d.Type || name == d.Vendor+"/"+d.Type+"/"+d.Name {
			count += uint64(len(d.Instances))
		}
	}
	return count
}

// unseen notes what no check from here can see.
func (r *Report) unseen(job *api.Job) {
	for _, g := range job.TaskGroups {
		if len(g.Volumes) > 0 {
			r.note("not checked: whether a node has the volumes")
		}
		if len(job.Constraints)+len(g.Constraints) > 0 {
			r.note("not checked: whether a node meets the constraints")
		}
		for _, t := range g.Tasks {
			if t.Config["content"] != nil {
				r.note("not checked: whether the content is in the store, whole, and nodes may read it")
			}
			if display := blockOf(t.Config, "display"); display["max"] != nil || display["width"] != nil || display["height"] != nil {
				r.note("not checked: whether the nodes' X server takes the display's sizes")
			}
			if command, _ := t.Config["command"].(string); command != "" {
				r.note("not checked: whether %s is where seats look for it", command)
			}
		}
	}
}

// blockOf is a block of a task's config.
func blockOf(config map[string]any, name string) map[string]any {
	block := config[name]
	switch list := block.(type) {
	case []any:
		if len(list) > 0 {
			block = list[0]
		}
	case []map[string]any:
		if len(list) > 0 {
			return list[0]
		}
	}
	fields, _ := block.(map[string]any)
	return fields
}
