package nomad

import (
	"context"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// remembers is how many events the Nomad of these tests remembers.
const remembers = 60

// deltas is a real Nomad with apps, and a watch that reaches it by a proxy.
type deltas struct {
	*testing.T
	direct *Client // not by the proxy
	proxy  *proxy
	client *Client
	log    *testkit.Buffer
	w      *watched
	apps   map[string]brain.App
	tokens int
}

func (d *deltas) dispatch(app string) string {
	d.Helper()
	d.tokens++
	id, err := d.direct.Dispatch(d.Context(), d.apps[app], fmt.Sprintf("s-%d", d.tokens))
	testkit.Must(d.T, err)
	return id
}

func (d *deltas) stopChild(id string) {
	d.Helper()
	testkit.Must(d.T, d.direct.Stop(d.Context(), id))
}

func (d *deltas) until(what string, is func() bool) {
	d.Helper()
	testkit.Until(d.T, what, is)
}

func (d *deltas) state(id string) brain.ChildState {
	c, ok := d.w.see().Children[id]
	if !ok {
		return -1
	}
	return c.State
}

// endsAtNomad waits until Nomad has a child's end.
func (d *deltas) endsAtNomad(id string) {
	d.Helper()
	d.until("its end at Nomad", func() bool {
		last, err := d.direct.readLast(d.Context(), []string{id})
		return err == nil && last[id] != nil && last[id].ClientStatus == "complete"
	})
}

// fence waits until all events that were made before it were taken.
func (d *deltas) fence() {
	d.Helper()
	id := d.dispatch("stuck")
	d.until("a later event", func() bool { return d.state(id) == brain.ChildBlocked })
	d.stopChild(id)
	d.until("its end", func() bool { return d.state(id) == brain.ChildDead })
}

// evaluate makes events about a child that say nothing new.
func (d *deltas) evaluate(id string) {
	d.Helper()
	_, _, err := d.direct.api.Jobs().ForceEvaluate(id, nil)
	testkit.Must(d.T, err)
}

// TestDeltas checks what is asked of Nomad, what is told, and when it is told again.
func TestDeltas(t *testing.T) {
	log := &testkit.Buffer{}
	direct, agent := agent(t, log, fmt.Sprintf("server { event_buffer_size = %d }", remembers))
	testkit.Retry(testkit.Context(t, time.Minute), t, "the apps' namespace", func() error {
		_, err := direct.api.Namespaces().Register(&api.Namespace{Name: "apps"}, nil)
		return err
	})
	p := newProxy(t, agent.Address)
	client, err := Open(Config{Address: p.URL, Namespace: "apps", Log: slog.New(slog.NewTextHandler(log, nil))})
	testkit.Must(t, err)
	t.Cleanup(client.Close)
	client.driver, client.jobsPerPage, client.allocsPerPage = "raw_exec", 5, 5

	none := `constraint {
      attribute = "${node.class}"
      value = "gpu"
    }`
	run(t, direct, "apps", jobHCL("viewer", "", "exec sleep 600", ""))
	run(t, direct, "apps", jobHCL("fails", "", "exit 7", ""))
	run(t, direct, "apps", jobHCL("stuck", "", "true", none))
	d := &deltas{T: t, direct: direct, proxy: p, client: client, log: log, apps: map[string]brain.App{}}
	for _, id := range []string{"viewer", "fails", "stuck"} {
		d.apps[id] = brain.App{ID: id}
	}
	for _, step := range []struct {
		name string
		run  func(*deltas)
	}{
		{"start", (*deltas).start}, {"ends", (*deltas).ends}, {"resume", (*deltas).resume}, {"gap", (*deltas).gap},
		{"dropped", (*deltas).dropped}, {"resync", (*deltas).resync},
	} {
		if !t.Run(step.name, func(t *testing.T) {
			d := *d
			d.T = t
			d.tokens = 1000 * len(step.name)
			step.run(&d)
		}) {
			return
		}
	}
}

// watchNow begins to watch.
func (d *deltas) watchNow() {
	d.w = watching(context.Background(), d.client)
	d.Cleanup(d.w.stop)
	d.until("the tables are read", func() bool { return d.w.changes() > 0 })
}

// start: the tables are read in pages, with a question for each app, and none for a
// child.
func (d *deltas) start() {
	living := make([]string, 7)
	for i := range living {
		living[i] = d.dispatch("viewer")
	}
	dead, blocked, stopping := d.dispatch("fails"), d.dispatch("stuck"), d.dispatch("viewer")
	// As an earlier release dispatched it.
	resp, _, err := d.direct.api.Jobs().DispatchOpts(&api.DispatchOptions{JobID: "viewer", IdPrefixTemplate: "v0"},
		&api.WriteOptions{IdempotencyToken: "pool/old"})
	testkit.Must(d.T, err)
	earlier := resp.DispatchedJobID

	// One that watches from before sees when they are there.
	before := watching(d.Context(), d.direct)
	defer before.stop()
	d.until("all run", func() bool {
		children := before.see().Children
		return !slices.ContainsFunc(append(living, earlier, stopping), func(id string) bool { return children[id].State != brain.ChildRunning }) &&
			children[blocked].State == brain.ChildBlocked && children[dead].State != brain.ChildRunning
	})
	d.stopChild(stopping)
	d.until("it is stopped", func() bool { return before.see().Children[stopping].State == brain.ChildDead })

	d.proxy.counts()
	d.watchNow()
	first := d.w.see()
	// More changes are of what Nomad still does: of the child that was stopped, for example.
	if d.w.all != 1 || len(first.Apps) != 3 {
		d.Errorf("%d changes, %d with all; apps %v", d.w.changes(), d.w.all, first.Apps)
	}
	for _, id := range living {
		c := first.Children[id]
		if c.State != brain.ChildRunning || c.Alloc == "" || c.Node == "" || !strings.HasPrefix(c.Token, "s-") || c.App != "viewer" || time.Since(c.Created) > time.Minute {
			d.Errorf("%+v", c)
		}
	}
	if c := first.Children[blocked]; c.State != brain.ChildBlocked || !strings.Contains(c.Why, "node.class") {
		d.Errorf("%+v", c)
	}
	for _, id := range []string{dead, stopping} {
		if c, ok := first.Children[id]; ok {
			d.Errorf("a dead child is among those that live: %+v", c)
		}
	}
	d.until("the token of a child of an earlier release", func() bool { return d.w.see().Children[earlier].Token == "pool/old" })
	asked := d.proxy.counts()
	// 12 jobs and 8 allocations in pages of five, the list of the namespace default; three
	// apps, and one child without a token.
	if asked["jobs"] != 3+1 || asked["job"] != 3+1 || asked["allocations"] != 2 || asked["evaluations"] != 1 || asked["event"] != 1 {
		d.Errorf("asked %v", asked)
	}

	live, err := d.client.Live(d.Context(), "viewer")
	if want := append(slices.Clone(living), earlier); err != nil || !slices.Equal(live, want) {
		d.Errorf("live %v, %v", live, err)
	}
	if asked := d.proxy.counts(); asked["jobs"] != 2 || !strings.Contains(d.proxy.filter("jobs"), `ParentID == "viewer"`) {
		d.Errorf("asked %v for the children of an app, by %s", asked, d.proxy.filter("jobs"))
	}
	for _, id := range append(living[4:], earlier, blocked) {
		d.stopChild(id)
	}
	d.until("they are stopped", func() bool {
		return !slices.ContainsFunc(append(living[4:], earlier, blocked), func(id string) bool { return d.state(id) != brain.ChildDead })
	})
}

// living are the children of an app that live.
func (d *deltas) living(app string) (ids []string) {
	for id, c := range d.w.see().Children {
		if c.App == app && c.State == brain.ChildRunning {
			ids = append(ids, id)
		}
	}
	slices.Sort(ids)
	return ids
}

// ends: an end is told once, and nothing that comes later makes the child live again.
func (d *deltas) ends() {
	d.watchNow()
	living := len(d.living("viewer"))
	var dead []string
	for range 3 {
		dead = append(dead, d.dispatch("fails"))
	}
	for _, id := range dead {
		d.until("its end", func() bool { return d.state(id) == brain.ChildDead })
		if c := d.w.see().Children[id]; c.End == nil || c.End.Reason != wire.ReasonAppExited || c.End.ExitCode != 7 {
			d.Errorf("%+v", c)
		}
	}
	for _, id := range dead {
		d.evaluate(id) // Nomad calls it pending, until it has looked
		d.stopChild(id)
	}
	d.fence()
	testkit.Must(d.T, d.direct.api.System().GarbageCollect())
	d.until("the dead are collected", func() bool {
		_, _, err := d.direct.api.Jobs().Info(dead[0], nil)
		return status(err) == 404
	})
	d.fence()
	d.w.stop()
	for _, id := range dead {
		if d.w.mirror.children[id] != nil {
			d.Errorf("the mirror has %s still", id)
		}
		if d.w.deaths[id] != 1 || d.w.gone[id] != 0 || d.w.jobs.Children[id].State != brain.ChildDead {
			d.Errorf("told as dead %d times, as gone %d: %+v", d.w.deaths[id], d.w.gone[id], d.w.jobs.Children[id])
		}
	}
	if n := len(d.w.mirror.children); n > living+1 { // the fence's job may not be dead yet
		d.Errorf("the mirror has %d children, and %d live", n, living)
	}
}

// resume: a stream that broke goes on where it was. Nothing is read again.
func (d *deltas) resume() {
	d.watchNow()
	d.proxy.counts()
	d.proxy.setCut(true)
	was := d.living("viewer")[0]
	d.stopChild(was)
	born := d.dispatch("viewer")
	d.until("several tries were refused", func() bool { return d.proxy.count("event") > 1 })
	d.proxy.setCut(false)
	d.until("what came meanwhile is told", func() bool { return d.state(was) == brain.ChildDead && d.state(born) == brain.ChildRunning })
	if asked := d.proxy.counts(); asked["jobs"]+asked["job"]+asked["allocations"] != 0 {
		d.Errorf("asked %v", asked)
	}
	if d.w.all != 1 || d.w.deaths[was] != 1 {
		d.Errorf("%d changes with all, told as dead %d times", d.w.all, d.w.deaths[was])
	}
}

// forget makes Nomad forget the events that there are.
func (d *deltas) forget() {
	d.Helper()
	id := d.dispatch("stuck")
	for range remembers {
		d.evaluate(id)
	}
	d.stopChild(id)
}

// gap: if Nomad has forgotten the events, the tables are read again. What happens while
// they are read is told at once, and then what was missed.
func (d *deltas) gap() {
	d.watchNow()
	d.proxy.counts()
	d.proxy.setCut(true)
	was := d.living("viewer")
	d.stopChild(was[0])
	d.endsAtNomad(was[0])
	born, end := d.dispatch("viewer"), d.dispatch("fails")
	purged := was[1]
	_, _, err := d.direct.api.Jobs().Deregister(purged, true, nil)
	testkit.Must(d.T, err)
	d.forget()
	release := d.proxy.hold("jobs")
	defer release()
	d.proxy.setCut(false)
	d.until("the list is asked for", func() bool { return d.proxy.count("jobs") > 0 })
	d.stopChild(was[2])
	d.until("a death is told before the list", func() bool { return d.state(was[2]) == brain.ChildDead })
	if d.state(was[0]) != brain.ChildRunning || d.state(born) >= 0 {
		d.Errorf("the list was not held back: %+v", d.w.see().Children)
	}
	// The stream breaks before the list is there. It goes on, but what was missed before
	// is still to be read.
	d.proxy.setCut(true)
	d.proxy.counts()
	d.until("several tries were refused", func() bool { return d.proxy.count("event") > 1 })
	d.proxy.setCut(false)
	d.until("the stream is open", func() bool { return d.proxy.count("event") > 2 })
	release()
	d.until("what was missed is told", func() bool {
		_, there := d.w.see().Children[purged]
		return d.state(was[0]) == brain.ChildDead && d.state(born) == brain.ChildRunning && !there
	})
	if c := d.w.see().Children[was[0]]; c.End == nil || c.End.Reason != wire.ReasonDrained {
		d.Errorf("%+v", c)
	}
	d.fence()
	d.w.stop()
	if c, ok := d.w.jobs.Children[end]; ok {
		d.Errorf("a child that came and went unseen: %+v", c)
	}
	if d.w.all != 1 || d.w.deaths[was[0]] != 1 || d.w.deaths[was[2]] != 1 || d.w.gone[purged]+d.w.deaths[purged] != 1 {
		d.Errorf("%d changes with all, deaths %v, gone %v", d.w.all, d.w.deaths, d.w.gone)
	}
	if asked := d.proxy.counts(); asked["jobs"] == 0 || asked["allocations"] == 0 {
		d.Errorf("asked %v", asked)
	}
	for range 3 {
		d.dispatch("viewer")
	}
}

// dropped: Nomad drops a reader that is slow, and it does not stay deaf.
func (d *deltas) dropped() {
	d.watchNow()
	d.until("some run", func() bool { return len(d.living("viewer")) > 1 })
	goOn := d.proxy.stall()
	defer goOn()
	was := d.living("viewer")[0]
	// More than the sockets hold, and then more than Nomad remembers.
	large := strings.Repeat("x", 400<<10)
	for i := range 40 {
		run(d.T, d.direct, "apps", jobHCL("large", fmt.Sprintf("text = \"%d%s\"", i, large), "true", ""))
	}
	d.stopChild(was)
	d.endsAtNomad(was)
	d.forget()
	d.proxy.counts()
	if d.state(was) == brain.ChildDead {
		d.Fatal("the stream was not stalled")
	}
	goOn()
	d.until("what was missed is told", func() bool { return d.state(was) == brain.ChildDead && d.w.see().Apps["large"].ID != "" })
	d.until("the tables were read again", func() bool { return d.proxy.count("jobs") > 0 })
	_, _, err := d.direct.api.Jobs().Deregister("large", true, nil)
	testkit.Must(d.T, err)
	d.until("events go on", func() bool { _, ok := d.w.see().Apps["large"]; return !ok })
	if d.proxy.count("event") == 0 || d.w.all != 1 || d.w.deaths[was] != 1 {
		d.Errorf("opened again %d times, %d changes with all, told as dead %d times", d.proxy.count("event"), d.w.all, d.w.deaths[was])
	}
}

// resync: a comparison of a mirror that is right tells nothing, and reads no allocations.
func (d *deltas) resync() {
	d.client.resync = 300 * time.Millisecond
	d.watchNow()
	d.fence()
	d.proxy.counts()
	changes := d.w.changes()
	d.until("it compared twice", func() bool { return d.proxy.count("jobs") > 4 })
	if asked := d.proxy.counts(); asked["job"]+asked["allocations"]+asked["evaluations"] != 0 || d.w.changes() != changes {
		d.Errorf("asked %v, told %d changes", asked, d.w.changes()-changes)
	}
}
