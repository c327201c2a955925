package cloud

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// diagnose says what is wrong in what was seen. It asks nobody.
func diagnose(looks []*look, names []string, now time.Time) (all []Finding) {
	var primary *look
	for _, l := range looks {
		if l.site.Primary {
			primary = l
		}
	}
	for _, l := range looks {
		d := &diagnosis{look: l, found: slices.Clone(l.findings)}
		d.servers()
		d.lostNodes()
		d.platform()
		d.groupsOfNodes(now)
		d.appsOfSite()
		d.times(now)
		d.clients()
		d.agentCertificates(now)
		d.oldBackups(now)
		d.reached()
		d.links(looks, names)
		if primary != nil && primary != l {
			d.copies(primary)
		}
		slices.SortStableFunc(d.found, func(a, b Finding) int {
			return map[bool]int{true: 1}[a.Unknown || a.Note] - map[bool]int{true: 1}[b.Unknown || b.Note]
		})
		all = append(all, d.found...)
	}
	return all
}

type diagnosis struct {
	*look
	found []Finding
}

func (d *diagnosis) wrong(problem, evidence, do string) {
	d.found = append(d.found, Finding{Site: d.site.Name, Problem: problem, Evidence: evidence, Do: do})
}

// servers: a quorum, and one version.
func (d *diagnosis) servers() {
	for _, of := range []struct {
		name    string
		servers []Server
	}{{"Consul", d.consul}, {"Nomad", d.nomad}} {
		if len(of.servers) == 0 {
			continue // it did not answer, which is said
		}
		if why := quorum(of.servers, d.site.Servers); why != "" {
			d.wrong(of.name+"'s servers are not whole: "+why, servers(of.servers),
				"the group replaces a lost server by itself. If it does not, look at the group; do not replace another one before this is mended")
		}
		versions := map[string]bool{}
		for _, s := range of.servers {
			if s.Version != "" {
				versions[s.Version] = true
			}
		}
		if len(versions) > 1 {
			d.wrong(of.name+"'s servers have different versions", servers(of.servers), "finish the replacement: nearcast cloud roll --site "+d.site.Name)
		}
	}
}

func servers(all []Server) string {
	var words []string
	for _, s := range all {
		text := s.Name + " " + s.Version
		if s.Leader {
			text += ", leader"
		}
		if !s.Voter {
			text += ", no vote"
		}
		if !s.Healthy {
			text += ", not healthy"
		}
		words = append(words, text)
	}
	slices.Sort(words)
	return strings.Join(words, "; ")
}

// lostNodes: nodes that do not answer, or take no work.
func (d *diagnosis) lostNodes() {
	for _, name := range d.lost {
		d.wrong("the node "+name+" is lost to Consul", "its agent does not answer the others", "is the machine there? On it: journalctl -u consul. A node that is gone for good leaves the list after eight hours, or by: consul force-leave -prune "+name)
	}
	for _, n := range d.nodes {
		what := fmt.Sprintf("the node %s (pool %s, %s)", n.Name, n.Pool, n.ID[:min(8, len(n.ID))])
		switch {
		case n.Status == "down" && (n.Draining || !n.Eligible):
			continue // it drained before it ended, as nodes do that are removed; Nomad forgets it in a day
		case n.Status == "down" || n.Status == "disconnected":
			if !slices.Contains(d.lost, n.Name) {
				d.wrong(what+" is "+n.Status, "Nomad does not hear of it", "on it: journalctl -u nomad -u nearcast-configure. If it is gone for good, Nomad forgets it in a day, or by: nomad operator api -X PUT /v1/node/"+n.ID+"/purge")
			}
			continue
		case n.Status != "ready":
			d.wrong(what+" is "+n.Status, "Nomad's agent has not finished its start", "on it: nearcast provision ready --once")
			continue
		case n.Draining: // somebody's wish
			continue
		case !n.Eligible:
			d.wrong(what+" takes no work", "it is not eligible, and does not drain", "if nobody works on it: nomad node eligibility -enable "+n.ID)
		}
		for _, driver := range slices.Sorted(maps.Keys(n.Sick)) {
			if !d.needs(n, driver) {
				continue
			}
			d.wrong(what+": the driver "+driver+" is not healthy", n.Sick[driver], "on it: journalctl -u nomad; nearcast provision ready --once")
		}
		if strings.HasPrefix(n.Pool, "stream-") && !n.Stream {
			d.wrong(what+" has no driver for seats", "Nomad did not find the driver stream there", "on it: journalctl -u nomad -u nearcast-firewall")
		}
	}
	have := map[string]int{}
	for _, n := range d.nodes {
		if n.Ready() {
			have[n.Pool]++
		}
	}
	if len(d.nodes) > 0 && have["edge"] < d.site.EdgeNodes {
		d.wrong("edge nodes are missing", fmt.Sprintf("%d of %d are ready", have["edge"], d.site.EdgeNodes), "a new version of the router finds no free node: look at the group of edge nodes")
	}
}

// needs reports whether a node's work needs a driver: others may be sick for good, such as one
// whose program is not installed.
func (d *diagnosis) needs(n Node, driver string) bool {
	if strings.HasPrefix(n.Pool, "stream-") {
		return driver == "stream"
	}
	return driver == "exec" || driver == "raw_exec"
}

// platform: the jobs of the site's own parts, and what they say of themselves in Consul.
func (d *diagnosis) platform() {
	up := "nearcast cloud up --site " + d.site.Name
	for _, name := range knownJobs {
		state, asked := d.jobs[name]
		gone := !state.Exists || state.Stopped
		if gone && slices.Contains(optionalJobs, name) {
			continue
		}
		if gone && asked && name == prefetchJob {
			evidence := map[bool]string{true: "somebody stopped it", false: "Nomad does not know it"}[state.Exists]
			d.found = append(d.found, Finding{Site: d.site.Name, Problem: "the job prefetch does not run: nodes fetch content when somebody asks, not before", Evidence: evidence, Do: "if you want it: " + up, Note: true})
			continue
		}
		if !asked || name == "turn" && len(d.site.TURNURLs) == 0 || name == "autoscaler" && len(d.site.Pools) == 0 {
			continue
		}
		if !state.Exists {
			d.wrong("the job "+name+" is not registered", "Nomad does not know it", up)
			continue
		}
		if state.Stopped {
			d.wrong("the job "+name+" is stopped", "somebody stopped it", up)
			continue
		}
		if missing, err := unhealthy(state); missing != "" || err != nil {
			if err != nil {
				missing = err.Error()
			}
			d.wrong("the job "+name+" is not as it is to be: "+missing, fmt.Sprintf("version %d, %d of %d run", state.Version, state.Running, state.Wanted), "nomad job status "+name+"; then "+up)
		}
	}
	for _, of := range [][2]string{{wire.RouterService, "router"}, {wire.BrainService, "brain"}} {
		service, job := of[0], of[1]
		instances, asked := d.instances[service]
		if !asked || !d.jobs[job].Exists || d.jobs[job].Stopped {
			continue
		}
		well, full := 0, 0
		var sick []string
		for _, i := range instances {
			switch {
			case !i.Healthy:
				sick = append(sick, i.ID)
			default:
				well++
				if i.Room == wire.RoomFull {
					full++
				}
			}
		}
		// The record of an instance that ended goes after a minute.
		if len(sick) > 0 && well < d.jobs[job].Wanted {
			d.wrong(service+": instances do not say that they live", list(sick), "nomad job status "+job+"; nomad alloc logs -stderr -job "+job)
		} else if running := min(d.jobs[job].Running, d.jobs[job].Wanted); well > 0 && well < running {
			d.wrong("instances of "+service+" are not in Consul", fmt.Sprintf("Nomad runs %d, Consul has %d", running, well), "if they began a moment ago, run the command again; else nomad alloc logs -stderr -job "+job+" names what they lack")
		}
		if well == 0 {
			d.wrong("no "+service+" is in Consul", fmt.Sprintf("Nomad says that %d of %d run", d.jobs[job].Running, d.jobs[job].Wanted), "nomad alloc logs -stderr -job "+job+" names what it lacks, mostly a right in Consul (acl/apply.sh)")
		}
		if well > 0 && full == well {
			d.wrong("all brains are full", fmt.Sprintf("%d of %d refuse most of those who come", full, well), "more brains, or larger limits: docs/SCALE.md")
		}
	}
}

// groupsOfNodes: fewer nodes than wanted, and why.
func (d *diagnosis) groupsOfNodes(now time.Time) {
	for _, role := range Roles {
		group, asked := d.groups[role]
		if !asked {
			continue
		}
		name := d.site.Groups[role]
		// Nodes that start are no fault, as when the autoscaler wants more.
		if group.InService+group.Starting < group.Wanted || group.InService < group.Wanted && len(group.Troubles) > 0 {
			evidence := []string{fmt.Sprintf("%d of %d are in service, %d start", group.InService, group.Wanted, group.Starting)}
			evidence = append(evidence, group.Troubles...)
			d.wrong("the group "+name+" has fewer nodes than it is to have", strings.Join(evidence, "; "), "a node takes minutes to start. If this stays: quotas of the account, and the reasons of nodes below s3://"+d.site.SystemBucket+"/nodes/"+name+"/")
		}
		for _, r := range d.reasons[role][:min(3, len(d.reasons[role]))] {
			if group.InService >= group.Wanted && now.Sub(r.At) > history {
				continue
			}
			d.wrong(fmt.Sprintf("a node of %s was given up at %s", name, r.At.UTC().Format("15:04")), r.Instance+": "+r.Text, "mend what it says; the group has put another one in its place, which may fail in the same way")
		}
	}
}

// appsOfSite: seats that keep failing.
func (d *diagnosis) appsOfSite() {
	for _, id := range failing(d.apps) {
		app := d.apps[id]
		evidence := app.Capacity.Failing
		if last := d.failures[id]; last != "" {
			evidence += "; the last one " + last
		}
		d.wrong("seats of the app "+id+" keep failing", evidence, "take the version back: nomad job revert -namespace=apps "+id+" VERSION; docs/OPERATE.md, \"A version of an app fails\"")
	}
}

// times: clocks and certificates.
func (d *diagnosis) times(now time.Time) {
	for _, node := range slices.Sorted(maps.Keys(d.clocks)) {
		if offset := d.clocks[node]; offset.Abs() > clockLimit {
			way := "ahead of"
			if offset < 0 {
				way = "behind"
			}
			d.wrong("the clock of "+node+" is wrong", fmt.Sprintf("it is %s %s this machine's (right to 2 s)", offset.Abs().Round(time.Second), way), "if all nodes say so, it is this machine's. Else on the node: timedatectl; tickets are refused from 30 s on")
		}
	}
	for _, u := range slices.Sorted(maps.Keys(d.certificates)) {
		if left := d.certificates[u].Sub(now); left < expiresSoon {
			d.wrong("the certificate at "+u+" expires soon", fmt.Sprintf("it is good until %s", d.certificates[u].UTC().Format(time.DateOnly)), "renew it; AWS renews its own while their DNS records for validation exist")
		}
	}
}

// copies: content of the primary site that is not here.
func (d *diagnosis) copies(primary *look) {
	if primary.objects == nil || d.objects == nil || len(primary.objects) >= mostObjects || len(d.objects) >= mostObjects {
		return
	}
	var missing []string
	for key, size := range primary.objects {
		if have, ok := d.objects[key]; !ok || have != size {
			missing = append(missing, key)
		}
	}
	if len(missing) > 0 {
		d.wrong("copies of content are behind", fmt.Sprintf("%d of %d objects are not here after %s: %s", len(missing), len(primary.objects), copyTime, list(missing)),
			fmt.Sprintf("the status of the replication of s3://%s; objects from before the site: aws s3 sync (docs/DEPLOY.md, \"Add a region\")", primary.site.ContentBucket))
	}
}
