package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"math/rand/v2"
	"net"
	"net/http"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/nearcast/nearcast/provision/agents"
	"github.com/nearcast/nearcast/provision/awsapi"
	"github.com/nearcast/nearcast/provision/drain"
	"github.com/nearcast/nearcast/provision/ready"
)

// group stands for an auto scaling group with a launch hook and a termination hook. Its
// instances are real Nomad clients.
type group struct {
	*live
	name  string // of the group, the node pool and the node class
	crowd *crowd

	mu         sync.Mutex
	first      int // nodes before anybody comes
	desired    int
	max        int
	instances  []*instance // that have not ended
	activities []*activity // the newest first
	number     int
	// Seconds: of the instances that have ended, and from request to ready.
	spent    float64
	readyIn  []float64
	most     int
	counting time.Time // node-hours count from then
	failed   error
}

// The states of an instance, as Auto Scaling names them.
const (
	pendingWait     = "Pending:Wait"
	inService       = "InService"
	terminatingWait = "Terminating:Wait"
)

type instance struct {
	of        *group
	id, state string
	asked     time.Time
	takenBack time.Time // the cloud ends it then
	activity  *activity
	agent     *server
	nomad     agents.Nomad
	node      string // its id in Nomad
	stop      context.CancelFunc
}

type activity struct {
	id   string
	done time.Time
}

func (g *group) note() *activity {
	g.number++
	a := &activity{id: fmt.Sprintf("activity-%s-%d", g.name, g.number)}
	g.activities = append([]*activity{a}, g.activities[:min(len(g.activities), 20)]...)
	return a
}

// count is how many instances there are that the cloud does not end. mu is held.
func (g *group) count() (n int) {
	for _, i := range g.instances {
		if i.state != terminatingWait {
			n++
		}
	}
	return n
}

// want sets the desired capacity, and launches what is missing. mu is held.
func (g *group) want(ctx context.Context, desired int, after time.Duration) {
	g.desired = min(desired, g.max)
	for g.count() < g.desired {
		g.number++
		i := &instance{of: g, id: fmt.Sprintf("i-%s-%d", g.name, g.number), state: pendingWait, asked: time.Now(), activity: g.note()}
		g.instances = append(g.instances, i)
		g.most = max(g.most, len(g.instances))
		g.all.Go(func() { i.live(ctx, after) })
	}
}

// live is the life of an instance: it boots, its own programs tell the group that it is ready,
// and drain it when it is to end.
func (i *instance) live(all context.Context, after time.Duration) {
	g := i.of
	ctx, stop := context.WithCancel(all)
	defer stop() // its metadata service ends with it
	i.stop = stop
	err := i.boot(ctx, after)
	if err == nil {
		err = drain.Run(ctx, drain.Config{Meta: i, Group: i, Node: i.nomad, Lifecycle: awsapi.Lifecycle{Group: g.name, Hook: "drain", Instance: i.id},
			Deadline: g.real(time.Hour), Poll: g.real(5 * time.Second), Log: g.quiet})
	}
	g.mu.Lock()
	taken := !i.takenBack.IsZero()
	g.mu.Unlock()
	if taken { // the cloud ends it at its moment, drained or not
		<-ctx.Done()
		err = nil
	}
	if all.Err() != nil { // the replay ends
		i.agent.end()
		return
	}
	if taken {
		g.crowd.lose(all, i.node)
	}
	g.mu.Lock()
	g.instances = slices.DeleteFunc(g.instances, func(other *instance) bool { return other == i })
	g.spent += g.since(i)
	i.activity.done = time.Now()
	if err != nil {
		g.failed = errors.Join(g.failed, fmt.Errorf("instance %s: %w", i.id, err))
	}
	g.mu.Unlock()
	g.leave(i)
}

// leave ends an instance's agent. Nomad is told at once: how long it waits for a heartbeat is not compressed.
func (g *group) leave(i *instance) {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Second)
	defer cancel()
	if i.node != "" {
		wait(ctx, 5*time.Second, "the node's tasks have ended", func() error { return g.crowd.gone(i.node) })
	}
	i.agent.end()
	if i.node != "" {
		g.nomad.Nodes().Purge(i.node, nil)
	}
}

// since is how many seconds an instance counts until now. mu is held.
func (g *group) since(i *instance) float64 {
	from := i.asked
	if from.Before(g.counting) {
		from = g.counting
	}
	return max(0, time.Since(from).Seconds())
}

// seconds is how long all instances counted.
func (g *group) seconds() (s float64) {
	g.mu.Lock()
	defer g.mu.Unlock()
	s = g.spent
	for _, i := range g.instances {
		s += g.since(i)
	}
	return s
}

// boot starts the Nomad client so that the node takes people after the time "ready": what the
// client itself needs for its start is not compressed.
func (i *instance) boot(ctx context.Context, after time.Duration) (err error) {
	g := i.of
	select {
	case <-time.After(after):
	case <-ctx.Done():
		return ctx.Err()
	}
	metadata, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		return err
	}
	g.serve(ctx, metadata, http.HandlerFunc(i.serveMetadata))
	var address string
	began := time.Now()
	if i.agent, address, err = g.startNode(g.name, i.id, "http://"+metadata.Addr().String()); err != nil {
		return err
	}
	drivers := []string{"raw_exec"}
	if g.streams != nil {
		drivers = append(drivers, "stream")
	}
	i.nomad = agents.Nomad{Address: address, IDFile: filepath.Join(g.dir, i.id, "client", "client-id")}
	err = ready.Run(ctx, ready.Config{Meta: i, Group: i, Lifecycle: awsapi.Lifecycle{Group: g.name, Hook: "ready", Instance: i.id},
		Within: time.Minute, Poll: 100 * time.Millisecond, Settle: time.Nanosecond, Log: g.quiet,
		Look: func(ctx context.Context) []ready.Result {
			return []ready.Result{{Part: "nomad", Err: errors.Join(i.agent.alive(), i.nomad.Ready(ctx, drivers...))}}
		}})
	if err != nil {
		return err
	}
	nodes, _, err := g.nomad.Nodes().List(nil)
	if err != nil {
		return err
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, n := range nodes {
		if n.Name == i.id {
			i.node = n.ID
		}
	}
	g.readyIn = append(g.readyIn, time.Since(i.asked).Seconds())
	g.learnBoot(time.Since(began))
	return nil
}

// takeBack has the cloud say that it takes back some nodes. The group requests others at once.
func (g *group) takeBack(ctx context.Context, share float64, r *rand.Rand, after time.Duration) {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, i := range slices.Clone(g.instances) {
		if i.state == inService && r.Float64() < share {
			i.state, i.takenBack, i.activity = terminatingWait, time.Now().Add(g.real(notice)), g.note()
			time.AfterFunc(g.real(notice), i.stop)
		}
	}
	g.want(ctx, g.desired, after)
}

// Get is the instance metadata service, for the programs of the node.
func (i *instance) Get(_ context.Context, path string) (string, error) {
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	switch {
	case path == "instance-id":
		return i.id, nil
	case path == "autoscaling/target-lifecycle-state" && i.state == terminatingWait && i.takenBack.IsZero():
		return "Terminated", nil
	case path == "autoscaling/target-lifecycle-state":
		return inService, nil
	case path == "spot/instance-action" && !i.takenBack.IsZero():
		// Package drain keeps 15 s for the end, which are not compressed. The drain's end is no part of
		// what is measured: who plays then loses the node.
		return fmt.Sprintf(`{"action":"terminate","time":%q}`, i.takenBack.Add(20*time.Second).UTC().Format(time.RFC3339Nano)), nil
	}
	return "", fmt.Errorf("%s: %w", path, awsapi.ErrNoMetadata)
}

// Complete, Abandon and Heartbeat are what the node's programs tell the group.
func (i *instance) Complete(_ context.Context, l awsapi.Lifecycle) error {
	i.of.mu.Lock()
	defer i.of.mu.Unlock()
	if l.Hook == "ready" && i.state == pendingWait {
		i.state, i.activity.done = inService, time.Now()
	}
	return nil
}

func (i *instance) Abandon(context.Context, awsapi.Lifecycle) error {
	return errors.New("the node was not ready in time")
}

func (i *instance) Heartbeat(context.Context, awsapi.Lifecycle) error { return nil }

// serveAWS is the API of EC2 Auto Scaling.
func (l *live) serveAWS(w http.ResponseWriter, r *http.Request) {
	r.ParseForm()
	form := r.PostForm
	action, result := form.Get("Action"), ""
	name := form.Get("AutoScalingGroupName") + form.Get("AutoScalingGroupNames.member.1")
	for _, g := range l.groups {
		if g.name == name || strings.HasPrefix(form.Get("InstanceId"), "i-"+g.name+"-") {
			result = g.answer(l.ctx, action, form.Get)
		}
	}
	w.Header().Set("Content-Type", "text/xml")
	fmt.Fprintf(w, `<%[1]sResponse xmlns="http://autoscaling.amazonaws.com/doc/2011-01-01/"><%[1]sResult>%[2]s</%[1]sResult></%[1]sResponse>`, action, result)
}

// serveMetadata is the metadata service of the instance, for Nomad.
func (i *instance) serveMetadata(w http.ResponseWriter, r *http.Request) {
	switch strings.TrimPrefix(r.URL.Path, "/latest/") {
	case "api/token":
		w.Header().Set("X-Aws-Ec2-Metadata-Token-Ttl-Seconds", "21600")
		fmt.Fprint(w, "token")
	case "meta-data/instance-id":
		fmt.Fprint(w, i.id)
	case "meta-data/ami-id":
		fmt.Fprint(w, "ami-replay")
	default:
		http.Error(w, "no such entry", http.StatusNotFound)
	}
}

// answer is what the group says to a request.
func (g *group) answer(ctx context.Context, action string, field func(string) string) string {
	g.mu.Lock()
	defer g.mu.Unlock()
	var b strings.Builder
	switch action {
	case "DescribeAutoScalingGroups":
		fmt.Fprintf(&b, "<AutoScalingGroups><member><AutoScalingGroupName>%s</AutoScalingGroupName><DesiredCapacity>%d</DesiredCapacity>"+
			"<AvailabilityZones><member>a</member></AvailabilityZones><Instances>", g.name, g.desired)
		for _, i := range g.instances {
			fmt.Fprintf(&b, "<member><InstanceId>%s</InstanceId><HealthStatus>Healthy</HealthStatus><LifecycleState>%s</LifecycleState>"+
				"<ProtectedFromScaleIn>true</ProtectedFromScaleIn></member>", i.id, i.state)
		}
		b.WriteString("</Instances></member></AutoScalingGroups>")
	case "DescribeScalingActivities":
		var asked []string
		for n := 1; field(fmt.Sprint("ActivityIds.member.", n)) != ""; n++ {
			asked = append(asked, field(fmt.Sprint("ActivityIds.member.", n)))
		}
		b.WriteString("<Activities>")
		for _, a := range g.activities {
			if len(asked) > 0 && !slices.Contains(asked, a.id) {
				continue
			}
			if a.done.IsZero() {
				fmt.Fprintf(&b, "<member><ActivityId>%s</ActivityId><Progress>50</Progress></member>", a.id)
			} else {
				fmt.Fprintf(&b, "<member><ActivityId>%s</ActivityId><Progress>100</Progress><EndTime>%s</EndTime></member>", a.id, a.done.UTC().Format(time.RFC3339Nano))
			}
		}
		b.WriteString("</Activities>")
	case "UpdateAutoScalingGroup":
		if desired, err := strconv.Atoi(field("DesiredCapacity")); err == nil {
			g.want(ctx, desired, g.boots())
		}
	case "TerminateInstanceInAutoScalingGroup":
		for _, i := range g.instances {
			if i.id == field("InstanceId") && i.state != terminatingWait {
				i.state, i.activity = terminatingWait, g.note()
				g.desired--
				fmt.Fprintf(&b, "<Activity><ActivityId>%s</ActivityId><Progress>0</Progress></Activity>", i.activity.id)
			}
		}
	}
	return b.String()
}

// quiet keeps only what fails.
func quiet() *slog.Logger { return slog.New(slog.DiscardHandler) }
