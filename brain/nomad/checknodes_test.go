package nomad

import (
	"slices"
	"strings"
	"testing"

	"github.com/hashicorp/nomad/api"

	"github.com/nearcast/nearcast/brain"
)

// A node counts if it is in the job's pool and datacenters, both its numbers are large enough, it
// takes new seats, and it has what the task asks for.
func TestJudgeNodes(t *testing.T) {
	node := func(change ...func(*api.NodeListStub)) *api.NodeListStub {
		n := &api.NodeListStub{
			Name: "cpu-1", NodePool: "stream-cpu", Datacenter: "dc1", Status: "ready", SchedulingEligibility: "eligible",
			Drivers: map[string]*api.DriverInfo{"stream": {Detected: true, Healthy: true, Attributes: map[string]string{
				"driver.stream.internet": "true", "driver.stream.gamepads": "false", "driver.stream.encoders.vp8": "",
			}}},
			NodeResources: &api.NodeResources{
				Cpu: api.NodeCpuResources{CpuShares: 16000}, Memory: api.NodeMemoryResources{MemoryMB: 8000},
				Devices: []*api.NodeDeviceResource{{Vendor: "nearcast", Type: "gpu-seat", Name: "nvidia-l4", Instances: make([]*api.NodeDevice, 2)}},
			},
			ReservedResources: &api.NodeReservedResources{Cpu: api.NodeReservedCpuResources{CpuShares: 500}},
		}
		for _, f := range change {
			f(n)
		}
		return n
	}
	has := func(mhz, mb int64) func(*api.NodeListStub) {
		return func(n *api.NodeListStub) { n.NodeResources.Cpu.CpuShares, n.NodeResources.Memory.MemoryMB = mhz, mb }
	}
	named := func(name, pool string) func(*api.NodeListStub) {
		return func(n *api.NodeListStub) { n.Name, n.NodePool = name, pool }
	}
	down := func(n *api.NodeListStub) { n.Status = "down" }
	ineligible := func(n *api.NodeListStub) { n.SchedulingEligibility = "ineligible" }
	asks := func(config map[string]any, devices ...string) *api.Job {
		task := &api.Task{Config: config, Resources: &api.Resources{}}
		for _, d := range devices {
			task.Resources.Devices = append(task.Resources.Devices, &api.RequestedDevice{Name: d})
		}
		return &api.Job{TaskGroups: []*api.TaskGroup{{Tasks: []*api.Task{task}}}}
	}
	small, large := brain.App{MHz: 1000, MemoryMB: 1000}, brain.App{MHz: 12000, MemoryMB: 32000}
	for name, c := range map[string]struct {
		nodes         []*api.NodeListStub
		job           *api.Job
		pool          string
		app           brain.App
		problem, note string
	}{
		"fits":                      {nodes: []*api.NodeListStub{node()}, app: small},
		"no driver":                 {nodes: []*api.NodeListStub{node(func(n *api.NodeListStub) { n.Drivers = nil })}, app: small, problem: "no node of the site has the driver stream"},
		"both numbers on two nodes": {nodes: []*api.NodeListStub{node(), node(has(4000, 64000))}, app: large, problem: "no node has both"},
		"what the agent keeps":      {nodes: []*api.NodeListStub{node()}, app: brain.App{MHz: 15800}, problem: "wants 15800 MHz, the largest has 15500"},
		"large in another pool":     {nodes: []*api.NodeListStub{node(), node(named("gpu-1", "stream-gpu"), has(32000, 64000))}, app: large, problem: "no node is large enough"},
		"of every pool":             {nodes: []*api.NodeListStub{node(), node(named("gpu-1", "stream-gpu"), has(32000, 64000))}, app: large, pool: "all"},
		"a pool without nodes":      {nodes: []*api.NodeListStub{node()}, app: small, pool: "stream-new", note: "no node is now in the node pool \"stream-new\""},
		"another datacenter":        {nodes: []*api.NodeListStub{node()}, job: &api.Job{Datacenters: []string{"eu-*"}}, app: small, note: "no node is now in"},
		"large and down":            {nodes: []*api.NodeListStub{node(), node(named("down", "stream-cpu"), has(32000, 64000), down)}, app: large, problem: "takes new seats now: down:"},
		"all down or draining":      {nodes: []*api.NodeListStub{node(down), node(named("cpu-2", "stream-cpu"), func(n *api.NodeListStub) { n.Drain = true })}, app: small, note: `of the node pool "stream-cpu" is ready now: cpu-1, cpu-2:`},
		"all down and too small":    {nodes: []*api.NodeListStub{node(down)}, app: large, problem: "no node is large enough"},
		"down and not eligible":     {nodes: []*api.NodeListStub{node(down), node(named("cpu-2", "stream-cpu"), ineligible)}, app: small, problem: "takes new seats now: cpu-1, cpu-2:"},
		"large and not eligible":    {nodes: []*api.NodeListStub{node(ineligible)}, app: small, problem: "takes new seats now: cpu-1:"},
		"a GPU of any model":        {nodes: []*api.NodeListStub{node()}, job: asks(nil, "nearcast/gpu-seat"), app: small},
		"a GPU of another model":    {nodes: []*api.NodeListStub{node()}, job: asks(nil, "nearcast/gpu-seat/nvidia-h100"), app: small, problem: "has the device nearcast/gpu-seat/nvidia-h100: they are cpu-1"},
		"the internet":              {nodes: []*api.NodeListStub{node()}, job: asks(map[string]any{"network": "internet"}), app: small},
		"gamepads":                  {nodes: []*api.NodeListStub{node()}, job: asks(map[string]any{"gamepads": true}), app: small, problem: "has gamepads = true"},
		"VP8":                       {nodes: []*api.NodeListStub{node()}, job: asks(map[string]any{"video": []map[string]any{{"codec": "vp8"}}}), app: small, problem: `has video.codec = "vp8"`},
	} {
		t.Run(name, func(t *testing.T) {
			job := c.job
			if job == nil {
				job = &api.Job{}
			}
			job.NodePool = &[]string{"stream-cpu"}[0]
			if c.pool != "" {
				job.NodePool = &c.pool
			}
			var r Report
			r.judge(c.nodes, "stream", job, c.app)
			said := func(what string, have []string, want string) {
				if (want == "") != (len(have) == 0) || want != "" && !slices.ContainsFunc(have, func(s string) bool { return strings.Contains(s, want) }) {
					t.Errorf("%s: %q, want %q", what, have, want)
				}
			}
			said("problems", r.Problems, c.problem)
			said("notes", r.Notes, c.note)
		})
	}
}

// What cannot be seen from here is said.
func TestNotesWhatIsNotChecked(t *testing.T) {
	task := &api.Task{Config: map[string]any{"command": "viewer", "content": []map[string]any{{"source": "s3://models/a"}}, "display": []map[string]any{{"max": "4096x2160"}}}}
	g := &api.TaskGroup{Tasks: []*api.Task{task}, Volumes: map[string]*api.VolumeRequest{"data": {}}, Constraints: []*api.Constraint{{LTarget: "${attr.cpu.arch}"}}}
	var r Report
	r.unseen(&api.Job{TaskGroups: []*api.TaskGroup{g}})
	for _, want := range []string{"volumes", "constraints", "content", "display's sizes", "viewer is where"} {
		if !slices.ContainsFunc(r.Notes, func(s string) bool { return strings.Contains(s, want) }) {
			t.Errorf("nothing is said of %q: %q", want, r.Notes)
		}
	}
	r = Report{}
	r.unseen(&api.Job{TaskGroups: []*api.TaskGroup{{Tasks: []*api.Task{{}}}}})
	if len(r.Problems)+len(r.Notes) > 0 {
		t.Errorf("of a job that asks for nothing: %q", r.Notes)
	}
}
