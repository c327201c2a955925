package cell

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sort"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/procfs"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/testkit/person"
	"github.com/nearcast/nearcast/internal/ticket"
	"github.com/nearcast/nearcast/internal/wire"
)

// seat is one seat on the node.
type seat struct {
	*node
	job, alloc string
}

// task is the name of each seat's task.
const task = "app"

// job is what a publisher asks for.
type job struct {
	id       string
	args     []string
	network  string // none where it is empty
	restarts int
	mayFail  bool // before it is ready
	memoryMB int
}

// run runs the test app as a job, and returns when its seat is ready.
func (n *node) run(j job) *seat {
	n.t.Helper()
	config := map[string]any{
		"command": filepath.Join(built, "testapp"), "args": j.args, "freeze_idle": false,
		"display": []any{map[string]any{"width": 320, "height": 240, "fps": 10}},
		"content": []any{map[string]any{"source": "s3://models/model", "destination": "local/content/model"}},
	}
	if j.network != "" {
		config["network"] = j.network
	}
	group := map[string]any{
		"Name": "seat", "Count": 1,
		"RestartPolicy":    map[string]any{"Attempts": j.restarts, "Mode": "fail", "Interval": 600e9, "Delay": 1e9},
		"ReschedulePolicy": map[string]any{"Attempts": 0, "Unlimited": false},
		"Tasks": []any{map[string]any{
			"Name": task, "Driver": "stream", "Config": config, "KillTimeout": 2e9,
			"Env":       map[string]string{"SECRET_OF": n.targets.Canary},
			"Resources": map[string]any{"CPU": 300, "MemoryMB": max(j.memoryMB, 300)},
			"LogConfig": map[string]any{"MaxFiles": 5, "MaxFileSizeMB": 1},
			// All that a job may ask for: a token for Nomad's API.
			"Identity": map[string]any{"Env": true},
		}},
	}
	task := group["Tasks"].([]any)[0].(map[string]any)
	env := task["Env"].(map[string]string)
	if j.id != "victim" {
		delete(env, "SECRET_OF")
	}
	if n.lacks("log-rotation") {
		task["LogConfig"] = map[string]any{"MaxFiles": 200, "MaxFileSizeMB": 1}
	}
	if n.lacks("memory-limit") {
		testkit.Must(n.t, n.request("PUT", "/v1/operator/scheduler/configuration", map[string]any{"MemoryOversubscriptionEnabled": true}))
		task["Resources"].(map[string]any)["MemoryMaxMB"] = -1
	}
	if n.without != "" {
		env["NEARCAST_CELL_WITHOUT"] = n.without
	}
	j.id += "-" + nonce()[:8]
	testkit.Must(n.t, n.request("PUT", "/v1/jobs", map[string]any{"Job": map[string]any{
		"ID": j.id, "Name": j.id, "Type": "batch", "Datacenters": []string{"*"}, "TaskGroups": []any{group},
	}}))
	s := &seat{node: n, job: j.id}
	testkit.UntilSeen(n.t, "the seat of "+j.id+" is ready", func() (any, bool) {
		var allocs []struct{ ID, ClientStatus string }
		if err := n.Get(n.t.Context(), "/v1/job/"+j.id+"/allocations", &allocs); err != nil || len(allocs) == 0 {
			return err, false
		}
		s.alloc = allocs[0].ID
		messages := s.messages()
		if allocs[0].ClientStatus == "failed" && j.restarts == 0 {
			if j.mayFail {
				return messages, true
			}
			n.t.Fatalf("the seat of %s failed: %q", j.id, messages)
		}
		return messages, slices.Contains(messages, "ready")
	})
	return s
}

// messages are the task's events in Nomad.
func (s *seat) messages() (all []string) {
	var alloc struct {
		TaskStates map[string]struct {
			Events []struct{ DisplayMessage string }
		}
	}
	if err := s.Get(s.t.Context(), "/v1/allocation/"+s.alloc, &alloc); err != nil {
		return []string{err.Error()}
	}
	for _, e := range alloc.TaskStates[task].Events {
		all = append(all, e.DisplayMessage)
	}
	return all
}

func (s *seat) state() string {
	var alloc struct{ ClientStatus string }
	if err := s.Get(s.t.Context(), "/v1/allocation/"+s.alloc, &alloc); err != nil {
		return err.Error()
	}
	return alloc.ClientStatus
}

// stop ends the seat as an operator does, and waits until it has ended.
func (s *seat) stop() {
	s.t.Helper()
	testkit.Must(s.t, s.request("DELETE", "/v1/job/"+s.job, nil))
	s.ends()
}

// ends waits until the seat has ended.
func (s *seat) ends() {
	s.t.Helper()
	testkit.UntilSeen(s.t, "the seat of "+s.job+" ends", func() (any, bool) {
		state := s.state()
		return state, state == "complete" || state == "failed"
	})
}

// allocDir is the allocation's directory on the node, with all that the seat wrote.
func (s *seat) allocDir() string { return filepath.Join(s.dataDir(), "alloc", s.alloc) }

// output is what the app has printed, in Nomad's log files.
func (s *seat) output() string {
	files, _ := filepath.Glob(filepath.Join(s.allocDir(), "alloc", "logs", task+".stdout.*"))
	sort.Strings(files)
	var all strings.Builder
	for _, file := range files {
		if info, err := os.Lstat(file); err == nil && info.Mode().IsRegular() {
			raw, _ := os.ReadFile(file)
			all.Write(raw)
		}
	}
	return all.String()
}

// results are the outcomes that the attacker has printed, and whether it has finished.
func (s *seat) results() (all []attack.Result, done bool) {
	for line := range strings.Lines(s.output()) {
		var r attack.Result
		if json.Unmarshal([]byte(line), &r) != nil {
			continue
		}
		switch r.Type {
		case attack.TypeAttack:
			all = append(all, r)
		case attack.TypeDone:
			done = true
		}
	}
	return all, done
}

// attacks waits until the attacker has finished.
func (s *seat) attacks() []attack.Result {
	s.t.Helper()
	var all []attack.Result
	testkit.Within(s.t, attackTime, "the attacker has finished", func() bool {
		var done bool
		all, done = s.results()
		if state := s.state(); !done && state != "running" {
			s.t.Fatalf("the attacker's seat is %s after %d attacks: %q\n%s", state, len(all), s.messages(), s.output())
		}
		return done
	})
	return all
}

// victim is the seat that is attacked, with a person who plays.
type victim struct {
	*seat
	person *person.Person
	canary string
	laid   attack.Laid
	status wire.StreamHostStatus
}

// newVictim starts a seat that keeps a secret everywhere.
func (n *node) newVictim() *victim {
	n.t.Helper()
	n.targets.Canary = "seat-canary-" + nonce()
	tag := "nearcast-bait-" + nonce()[:8]
	v := &victim{canary: n.targets.Canary}
	v.seat = n.run(job{id: "victim", args: []string{"-fps", "10", "-bait", v.canary, "-bait-tag", tag}})
	testkit.UntilSeen(n.t, "the victim has laid its secrets out", func() (any, bool) {
		out := v.output()
		for line := range strings.Lines(out) {
			if json.Unmarshal([]byte(line), &v.laid) == nil && v.laid.Type == attack.TypeBait {
				return nil, true
			}
		}
		return out, false
	})
	n.t.Cleanup(func() { removeBait(v.laid) })
	dir, status, err := n.status(v.alloc)
	testkit.Must(n.t, err)
	v.status = status
	v.targetsOf(dir)
	v.person = n.play(v.job, status.Seat)
	return v
}

// play claims a seat and connects.
func (n *node) play(app string, seat wire.Seat) *person.Person {
	n.t.Helper()
	token, _, err := n.signer.Sign(ticket.Claims{Session: ticket.NewSession(), App: app, Sites: []string{"here"}})
	testkit.Must(n.t, err)
	p := person.Attach(n.t, n.brain, seat, token).Connect()
	p.Ignore()
	return p
}

// targetsOf tells the attacker all that the victim has.
func (v *victim) targetsOf(runDir string) {
	t, to, pid := v.t, &v.node.targets, v.status.AppPID
	laid := v.laid.Args
	to.SharedMemory = append(laid.SharedMemory, v.capture()...)
	to.Queues, to.Semaphores, to.Keys = laid.Queues, laid.Semaphores, laid.Keys
	to.PosixMemory, to.PosixQueues = seen(pid, laid.PosixMemory...), laid.PosixQueues
	to.Temporary = seen(pid, laid.Temporary...)
	to.TaskDirs = append(seen(pid, laid.TaskDirs...), v.allocDir())
	to.RunDirs = []string{runDir, v.runDir()}
	to.Control = []string{filepath.Join(runDir, wire.ControlSocket)}

	display, authority := variable(pid, "DISPLAY"), variable(pid, "XAUTHORITY")
	_, number, _ := strings.Cut(display, ":")
	socket := "/tmp/.X11-unix/X" + number
	to.Displays, to.Authorities = seen(pid, socket), seen(pid, authority)
	sound := strings.TrimPrefix(variable(pid, "PULSE_SERVER"), "unix:")
	to.Sounds = seen(pid, sound)
	to.Sockets = slices.Concat(to.Sockets, seen(pid, laid.Sockets...), to.Control, seen(pid, socket, "@"+socket, sound), v.daemonSockets())

	to.User = userOf(t, pid)
	to.Targets = nil
	for role, target := range v.processes() {
		to.Targets = append(to.Targets, describe(t, role, target))
	}
	slices.SortFunc(to.Targets, func(a, b attack.Process) int { return strings.Compare(a.Role, b.Role) })
}

// seen are paths of an app as the node sees them. In a cell the same path is another file
// for each seat. Names of abstract sockets stay.
func seen(pid int, paths ...string) (all []string) {
	ours, err := os.Stat("/")
	theirs, err2 := os.Stat(fmt.Sprintf("/proc/%d/root/", pid))
	cell := err == nil && err2 == nil && !os.SameFile(ours, theirs)
	for _, path := range paths {
		if cell && strings.HasPrefix(path, "/") {
			path = fmt.Sprintf("/proc/%d/root%s", pid, path)
		}
		all = append(all, path)
	}
	return all
}

// openRunDir lets all users into the run directories of seats, and use the control socket.
func (v *victim) openRunDir() {
	v.t.Helper()
	control := v.node.targets.Control[0]
	for _, path := range []string{v.runDir(), filepath.Dir(control), control} {
		testkit.Must(v.t, os.Chmod(path, 0o777))
	}
}

// processes are the victim's, and those of the node that serve seats.
func (v *victim) processes() map[string]int {
	all := map[string]int{
		"the other seat's keeper": v.status.PID, "the other seat's first process": v.status.InitPID, "the other seat's app": v.status.AppPID,
	}
	for _, pid := range pids(func(int) bool { return true }) {
		raw, _ := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid))
		args := strings.Split(strings.TrimRight(string(raw), "\x00"), "\x00")
		name := filepath.Base(args[0])
		switch {
		case (name == "Xvfb" || name == "Xorg") && below(pid, v.status.PID):
			all["the other seat's X server"] = pid
		case name == "pulseaudio" && below(pid, v.status.PID):
			all["the other seat's sound server"] = pid
		case name == "stream-host" && below(pid, v.status.PID):
			all["the other seat's stream host"] = pid
		case name == "nomad-driver-stream" && strings.Contains(environ(pid), v.Dir):
			all["the driver"] = pid
		case name == "nomad" && len(args) > 1 && args[1] == "agent" && strings.Contains(string(raw), v.Dir):
			all["the Nomad agent"] = pid
		}
	}
	return all
}

// below reports whether a process descends from another.
func below(pid, ancestor int) bool {
	for pid > 1 {
		if pid == ancestor {
			return true
		}
		p, err := procfs.NewProc(pid)
		if err != nil {
			return false
		}
		stat, err := p.Stat()
		if err != nil {
			return false
		}
		pid = stat.PPID
	}
	return false
}

// capture are the segments by which the victim's picture is read.
func (v *victim) capture() (all []attack.Segment) {
	raw, _ := os.ReadFile("/proc/sysvipc/shm")
	for line := range strings.Lines(string(raw)) {
		var key, id, perms, cpid, lpid int
		var size uint64
		if n, _ := fmt.Sscan(line, &key, &id, &perms, &size, &cpid, &lpid); n == 6 && cpid == v.status.PID {
			all = append(all, attack.Segment{Role: "the other seat's picture", ID: id, Size: size})
		}
	}
	return all
}

// unharmed fails the test where the victim is not as it was.
func (v *victim) unharmed(t *testing.T) {
	t.Helper()
	_, now, err := v.node.status(v.alloc)
	testkit.Must(t, err)
	if now.State != wire.SeatStreaming || now.PID != v.status.PID || now.AppPID != v.status.AppPID || now.Nonce != v.status.Nonce {
		t.Errorf("the victim's seat is %+v, was %+v", now, v.status)
	}
	before := v.person.Frames()
	v.person.Press("KeyA", "a")
	testkit.Until(t, "the victim's key arrives, and pictures after it", func() bool {
		return strings.Contains(v.output(), `"key_press"`) && v.person.Frames() > before+5
	})
}

// attackTime bounds all attacks: each has five seconds.
const attackTime = 5 * time.Minute

func (n *node) attacker(j job, names, tag string, more func(*attack.Args)) *seat {
	n.t.Helper()
	args := n.targets
	args.Tag = tag
	// More than a seat may have, and less than the memory of its job.
	args.MaxProcesses, args.MaxBytes = 1500, 1<<30
	if more != nil {
		more(&args)
	}
	raw, err := json.Marshal(args)
	testkit.Must(n.t, err)
	j.args = append([]string{"-attack", names, "-attack-args", string(raw)}, j.args...)
	if j.memoryMB == 0 {
		j.memoryMB = 1800
	}
	return n.run(j)
}
