package cloud

import (
	"crypto/x509"
	"errors"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
)

// well are two sites at which nothing is wrong.
func well(t *testing.T) (looks []*look, names []string) {
	t.Helper()
	o, err := ReadOutputs([]byte(twoSites))
	if err != nil {
		t.Fatal(err)
	}
	now := time.Now()
	for _, site := range o.Sites {
		other := map[string]string{"a-1": "b-1", "b-1": "a-1"}[site.Name]
		f := newFakeSite()
		l := &look{
			site: site, consul: f.servers, nomad: f.servers, through: "a-1", sees: o.Names(), nodes: f.nodes,
			clocks:    map[string]time.Duration{"edge-1": -time.Second},
			instances: map[string][]wire.Instance{wire.RouterService: {{ID: "r", Healthy: true}, {ID: "s", Healthy: true}}, wire.BrainService: {{ID: "b", Healthy: true}, {ID: "c", Healthy: true, Room: wire.RoomFull}}},
			jobs:      map[string]State{}, apps: map[string]wire.App{"game": {}}, failures: map[string]string{},
			groups: map[string]Group{"edge": {Wanted: 3, InService: 3}}, reasons: map[string][]Reason{},
			objects: map[string]int64{"models/a": 1, "models/b": 2}, coordinates: map[string]wire.Distance{other: {RTTMS: 90}},
			router: &wire.SitesResponse{Sites: []wire.SiteView{
				{Site: site.Name, Healthy: true, Distances: map[string]wire.Distance{other: {RTTMS: 100, Measured: true}}},
				{Site: other, Healthy: true},
			}},
			certificates: map[string]time.Time{site.RouterURL: now.Add(60 * 24 * time.Hour)},
			shown: map[string]map[string]string{
				"server-1": {shownCertificate: "server." + site.Name + ".consul", shownUntil: now.Add(120 * 24 * time.Hour).Format(time.RFC3339)},
				"edge-1":   {shownCertificate: "client." + site.Name + ".consul", shownUntil: now.Add(120 * 24 * time.Hour).Format(time.RFC3339)},
				"edge-2":   {}, // of an earlier release
			},
			backups: map[string]time.Time{"s3://backups-b/backups/consul": now.Add(-23 * time.Hour)},
		}
		l.nodes = append(l.nodes, Node{ID: "stream-id", Name: "stream-1", Pool: "stream-cpu", Status: "ready", Eligible: true, Stream: true, Sick: map[string]string{"docker": "not found"}})
		for _, job := range append([]string{prefetchJob}, platformJobs...) {
			l.jobs[job] = State{Exists: true, Wanted: 2, Running: 2, Deployment: "successful"}
		}
		looks = append(looks, l)
	}
	return looks, o.Names()
}

// TestLookBackups: they are looked for in the region in which they are.
func TestLookBackups(t *testing.T) {
	at := time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
	snapshots := map[string]time.Time{"consul": at}
	regions := map[string]*fakeCloud{
		"site": {backups: map[string]map[string]time.Time{"system": snapshots}},
		"far":  {backups: map[string]map[string]time.Time{"backups-b": snapshots}},
	}
	c := &Cluster{Cloud: func(region string) (Cloud, error) { return regions[region], nil }}
	outputs, err := ReadOutputs([]byte(twoSites))
	if err != nil {
		t.Fatal(err)
	}
	for what, try := range map[string]struct {
		site Site
		want map[string]time.Time
		err  string
	}{
		"another region":  {outputs.Sites[1], map[string]time.Time{"s3://backups-b/backups/consul": at, "s3://backups-b/backups/nomad": {}}, ""},
		"earlier outputs": {Site{Name: "site", SystemBucket: "system"}, map[string]time.Time{"s3://system/backups/consul": at, "s3://system/backups/nomad": {}}, ""},
		"no bucket":       {Site{Name: "site"}, map[string]time.Time{}, ""},
		"not there":       {Site{Name: "site", Backups: Place{Bucket: "backups", Region: "site"}}, map[string]time.Time{}, "look into backups in site"},
	} {
		l := &look{site: try.site, backups: map[string]time.Time{}}
		err := c.lookBackups(t.Context(), l)
		if fmt.Sprint(l.backups) != fmt.Sprint(try.want) || (err == nil) != (try.err == "") || err != nil && !strings.Contains(err.Error(), try.err) {
			t.Errorf("%s: %v, %v; want %v", what, l.backups, err, try.want)
		}
	}
}

// TestDiagnose: nothing is said of sites that are well, and of each fault what it is, what was
// seen, and what to do.
func TestDiagnose(t *testing.T) {
	looks, names := well(t)
	if found := diagnose(looks, names, time.Now()); len(found) > 0 {
		t.Errorf("sites that are well: %+v", found)
	}
	faults := []struct {
		spoil func(l *look) // the site b-1
		want  string
	}{
		{func(l *look) { l.consul[2].Healthy = false }, "Consul's servers are not whole: servers are not healthy: server-3"},
		{func(l *look) { l.nomad = l.nomad[:2] }, "Nomad's servers are not whole: 2 of 3 servers have a vote"},
		{func(l *look) { l.nomad[0].Leader = false }, "Nomad's servers are not whole: there is no leader"},
		{func(l *look) { l.nomad[1].Version = "1.1" }, "Nomad's servers have different versions: server-1 1.0, leader; server-2 1.1"},
		{func(l *look) { l.lost = []string{"edge-2"} }, "the node edge-2 is lost to Consul"},
		{func(l *look) { l.nodes[3].Status = "down" }, "the node stream-1 (pool stream-cpu, stream-i) is down"},
		{func(l *look) { l.nodes[3].Eligible = false }, "takes no work: it is not eligible, and does not drain: if nobody works on it: nomad node eligibility -enable stream-id"},
		{func(l *look) { l.nodes[3].Sick["stream"] = "no encoder" }, "the driver stream is not healthy: no encoder"},
		{func(l *look) { l.nodes[3].Stream = false }, "has no driver for seats"},
		{func(l *look) { l.nodes[0].Status = "initializing" }, "is initializing"},
		{func(l *look) { l.nodes = l.nodes[1:] }, "edge nodes are missing: 2 of 3 are ready"},
		{func(l *look) { l.jobs["turn"] = State{} }, "the job turn is not registered"},
		{func(l *look) { l.jobs["brain"] = State{Exists: true, Stopped: true} }, "the job brain is stopped: somebody stopped it: nearcast cloud up --site b-1"},
		{func(l *look) { l.jobs["prefetch"] = State{} }, "the job prefetch does not run: nodes fetch content when somebody asks, not before: Nomad does not know it: if you want it: nearcast cloud up --site b-1"},
		{func(l *look) { l.jobs["prefetch"] = State{Exists: true, Stopped: true} }, "the job prefetch does not run: nodes fetch content when somebody asks, not before: somebody stopped it"},
		{func(l *look) { l.jobs["router"] = State{Exists: true, Deployment: "failed", Why: "it exits"} }, "the job router is not as it is to be: its deployment failed: it exits"},
		{func(l *look) { l.jobs["console"] = State{Exists: true, Deployment: "failed", Why: "it exits"} }, "the job console is not as it is to be: its deployment failed: it exits"},
		{func(l *look) { l.instances[wire.RouterService] = nil }, "no nearcast-router is in Consul"},
		{func(l *look) { l.instances[wire.RouterService] = l.instances[wire.RouterService][:1] }, "instances of nearcast-router are not in Consul: Nomad runs 2, Consul has 1"},
		{func(l *look) {
			l.instances[wire.BrainService][0].Healthy = false
			l.instances[wire.BrainService][1].Room = wire.RoomEnough
		}, "nearcast-brain: instances do not say that they live: b"},
		{func(l *look) { l.instances[wire.BrainService][0].Room = wire.RoomFull }, "all brains are full: 2 of 2"},
		{func(l *look) {
			l.groups["edge"] = Group{Wanted: 3, InService: 2, Troubles: []string{"no capacity in zone a"}}
		}, "the group n-edge has fewer nodes than it is to have: 2 of 3 are in service, 0 start; no capacity in zone a"},
		{func(l *look) {
			l.reasons["edge"] = []Reason{{Instance: "i-1", Text: "consul: no route", At: time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)}}
			l.groups["edge"] = Group{Wanted: 3, InService: 2, Starting: 1}
		}, "a node of n-edge was given up at 03:04: i-1: consul: no route"},
		{func(l *look) {
			l.apps["game"] = wire.App{Capacity: wire.Capacity{Failing: "it ends at once"}}
			l.failures["game"] = "on stream-1: exit 2"
		}, "seats of the app game keep failing: it ends at once; the last one on stream-1: exit 2"},
		{func(l *look) { l.clocks["edge-1"] = -8 * time.Second }, "the clock of edge-1 is wrong: it is 8s behind this machine's"},
		{func(l *look) { l.certificates[l.site.RouterURL] = time.Now().Add(24 * time.Hour) }, "the certificate at https://b-1.play.example expires soon"},
		{func(l *look) { l.nodes[0].Version = "1.1.0" }, "nodes have a newer Nomad than the servers: edge-1 have 1.1.0, the servers 1.0"},
		{func(l *look) { l.nodes[0].Version = "0.9.9" }, "nodes have an older Nomad than the servers: edge-1 have 0.9.9, the servers 1.0"},
		{func(l *look) {
			l.shown["edge-1"][shownUntil] = time.Now().Add(3 * 24 * time.Hour).Format(time.RFC3339)
		}, "certificates between nodes end soon: edge-1 ("},
		{func(l *look) { l.shown["edge-1"][shownCertificate] = "client.a-1.consul" }, "nodes have the certificates of others: edge-1 (client.a-1.consul, not client.b-1.consul)"},
		{func(l *look) { l.shown["edge-1"][shownCertificate] = "server.b-1.consul" }, "nodes have the certificates of others: edge-1 (server.b-1.consul, not client.b-1.consul)"},
		{func(l *look) {
			l.backups["s3://backups-b/backups/consul"] = time.Date(2026, 1, 2, 3, 4, 0, 0, time.UTC)
		}, "the backups at s3://backups-b/backups/consul are old: the latest is of 2026-01-02 03:04 UTC"},
		{func(l *look) { l.backups["s3://backups-b/backups/nomad"] = time.Time{} }, "there is no backup at s3://backups-b/backups/nomad"},
		{func(l *look) {
			l.noConsul, l.noNomad, l.router = errors.New("dial tcp: i/o timeout"), errors.New("no path to region"), nil
			l.consul, l.nomad, l.nodes, l.jobs = nil, nil, nil, nil
		}, "the servers of a-1 do not reach those of b-1: the link between the two is cut, or b-1 is lost: Consul: dial tcp: i/o timeout; Nomad: no path to region: open a tunnel to a server of b-1"},
		{func(l *look) {
			l.noConsul, l.noNomad, l.sees = errors.New("No path to datacenter"), errors.New("no path to region"), []string{"a-1"}
			l.consul, l.nomad, l.nodes, l.jobs = nil, nil, nil, nil
		}, "the link between a-1 and b-1 is cut: Consul: No path to datacenter; Nomad: no path to region; Consul of a-1 knows only: a-1; people reach the router of b-1: the peering"},
		{func(l *look) {
			l.noConsul, l.noNomad, l.router.Stale = errors.New("dial tcp: i/o timeout"), errors.New("no path to region"), true
			l.consul, l.nomad, l.nodes, l.jobs = nil, nil, nil, nil
		}, "the servers of a-1 do not reach those of b-1: the link between the two is cut, or b-1 is lost"},
		{func(l *look) {
			l.noConsul, l.noNomad = errors.New("500 (No cluster leader)"), errors.New("500 (No cluster leader)")
		}, "Consul of b-1 does not answer: 500 (No cluster leader): look at the servers"},
		{func(l *look) {
			l.noNomad = errors.New("i/o timeout")
		}, "Nomad of b-1 does not answer: i/o timeout: look at the servers"},
		{func(l *look) {
			l.through, l.noConsul, l.noNomad = "b-1", errors.New("i/o timeout"), errors.New("i/o timeout")
		}, "Consul of b-1 does not answer: i/o timeout: look at the servers"},
		{func(l *look) { l.router.Sites = l.router.Sites[:1] }, "the router has no facts of a-1"},
		{func(l *look) { l.router.Sites[1] = wire.SiteView{Site: "a-1", Unhealthy: "it does not answer"} }, "the router does not reach a-1: it does not answer"},
		{func(l *look) { l.router.Sites[0].Distances["a-1"] = wire.Distance{RTTMS: 300, Measured: true} }, "the way to a-1 is slow for people's requests: routers measure 300 ms, Consul's servers 90 ms"},
		{func(l *look) { l.objects["models/b"] = 1 }, "copies of content are behind: 1 of 2 objects are not here after 15m0s: models/b"},
		{func(l *look) {
			l.noConsul = errors.New("403 (Permission denied)")
			l.consul = nil
		}, "Consul of b-1 does not answer: 403 (Permission denied): give the operator's tokens"},
	}
	for _, fault := range faults {
		looks, names := well(t)
		fault.spoil(looks[1])
		found := diagnose(looks, names, time.Now())
		if len(found) == 0 {
			t.Errorf("nothing is said of: %s", fault.want)
			continue
		}
		said := ""
		for _, f := range found {
			said += fmt.Sprintf("%s: %s: %s\n", f.Problem, f.Evidence, f.Do)
			if prefetch := strings.Contains(f.Problem, "prefetch"); f.Note != prefetch || strings.HasPrefix(f.Words(), "note: b-1: ") != prefetch {
				t.Errorf("a note, or not: %+v", f)
			}
			if f.Evidence == "" || f.Do == "" {
				t.Errorf("no evidence, or nothing to do: %+v", f)
			}
		}
		if !strings.Contains(said, fault.want) || len(found) > 2 {
			t.Errorf("want %q, and little else:\n%s", fault.want, said)
		}
	}
}

// TestDiagnoseQuiet: what belongs to a cluster's days is no fault.
func TestDiagnoseQuiet(t *testing.T) {
	for name, change := range map[string]func(l *look){
		"a node that drained before it was removed": func(l *look) { l.nodes[3].Status, l.nodes[3].Eligible = "down", false },
		"the autoscaler starts a node":              func(l *look) { l.groups["stream-cpu"] = Group{Wanted: 5, InService: 4, Starting: 1} },
		"a node was given up this morning": func(l *look) {
			l.reasons["edge"] = []Reason{{Instance: "i-1", Text: "no route", At: time.Now().Add(-2 * time.Hour)}}
		},
		"the record of a router that ended": func(l *look) {
			l.instances[wire.RouterService] = append(l.instances[wire.RouterService], wire.Instance{ID: "old"})
		},
		"a node of the release before drains": func(l *look) { l.nodes[0].Version, l.nodes[3].Version, l.nodes[3].Draining = "1.0", "0.9", true },
		"somebody stopped the console":        func(l *look) { l.jobs["console"] = State{Exists: true, Stopped: true} },
	} {
		looks, names := well(t)
		change(looks[1])
		if found := diagnose(looks, names, time.Now()); len(found) > 0 {
			t.Errorf("%s: %+v", name, found)
		}
	}
}

// TestLasts: a server sends an old certificate of its authority along, as AWS does.
func TestLasts(t *testing.T) {
	at := func(days int) *x509.Certificate {
		return &x509.Certificate{NotAfter: time.Unix(0, 0).AddDate(0, 0, days)}
	}
	if got := lasts([][]*x509.Certificate{{at(90), at(3)}, {at(90), at(900)}, {at(90), at(50)}}); !got.Equal(time.Unix(0, 0).AddDate(0, 0, 90)) {
		t.Errorf("it is good until %s", got)
	}
}
