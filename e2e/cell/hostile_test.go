package cell

import (
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/dev/testapp/attack"
	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

// Without isolation the attacks succeed, which shows that they are attacks.
func TestHostileAppNotIsolated(t *testing.T) {
	// Where the agent is root, each seat has a user of its own without a cell too.
	without := ""
	if isRoot {
		without = "user"
	}
	testkit.NeedXvfb(t)
	n := newNode(t, "isolate = false").in(t, without)
	got := n.hostile(n.newVictim())
	judge(t, got, func(r row) attack.Outcome {
		if o, differs := asRoot[r.name]; differs && isRoot {
			return o
		}
		return r.plain
	})
	keep(t, "plain", got)
}

// hostile runs all attacks beside a victim, and returns their outcomes: none is
// planted any more.
func (n *node) hostile(v *victim) []attack.Result {
	n.t.Helper()
	cached := n.cached()

	tag := "nearcast-attack-" + nonce()[:8]
	s := n.attacker(job{id: "attacker"}, "all", tag, nil)
	_, status, err := n.status(s.alloc)
	testkit.Must(n.t, err)
	uid := userOf(n.t, status.AppPID)
	got := s.attacks()
	v.unharmed(n.t)
	s.stop()
	v.unharmed(n.t)

	// What is left once the seat has ended.
	decide(got, "leave-behind", left(n.t, uid, tag, detail(got, "leave-behind")))
	if uid != userOf(n.t, v.status.AppPID) {
		testkit.UntilSeen(n.t, "no process of the attacker's user is left", func() (any, bool) {
			pids := processesOf(uid)
			return pids, len(pids) == 0
		})
	}
	decide(got, "content-write", changed(cached, n.cached()))
	got = slices.DeleteFunc(got, func(r attack.Result) bool { return r.Name == "symlink-content" }) // links comes to it

	for _, name := range []string{"symlink-content", "symlink-logs", "log-flood", "memory-hog"} {
		got = append(got, n.alone()[name](tag)...)
	}
	v.unharmed(n.t)
	return got
}

// alone are the attacks that need a job of their own.
func (n *node) alone() map[string]func(tag string) []attack.Result {
	return map[string]func(string) []attack.Result{
		"symlink-content": n.links, "symlink-logs": n.logLinks, "log-flood": n.flood, "memory-hog": n.memory,
	}
}

// hostileWithout runs some attacks in a cell that lacks defences.
func (n *node) hostileWithout(names []string) (got []attack.Result) {
	n.t.Helper()
	if n.lacks("x-server") {
		testkit.Xorg(n.t)
	}
	tag := "nearcast-attack-" + nonce()[:8]
	alone := n.alone()
	names = slices.DeleteFunc(slices.Clone(names), func(name string) bool {
		if alone[name] != nil {
			got = append(got, alone[name](tag)...)
		}
		return alone[name] != nil
	})
	if len(names) == 0 {
		return got
	}
	if slices.ContainsFunc(names, func(name string) bool { return slices.Contains(onSeat, name) }) {
		v := n.newVictim()
		defer v.stop()
		if n.lacks("modes") {
			v.openRunDir()
		}
	}
	cached := n.cached()
	s := n.attacker(job{id: "attacker"}, strings.Join(names, ","), tag, nil)
	_, status, err := n.status(s.alloc)
	testkit.Must(n.t, err)
	uid := userOf(n.t, status.AppPID)
	got = append(got, s.attacks()...)
	s.stop()
	decide(got, "leave-behind", left(n.t, uid, tag, detail(got, "leave-behind")))
	decide(got, "content-write", changed(cached, n.cached()))
	return got
}

// links lets a seat put links into its content and end: its content is fetched again,
// since the app restarts, and then Nomad removes all.
func (n *node) links(tag string) []attack.Result {
	n.t.Helper()
	before := snapshot(n.t, n.targets.Victim)
	s := n.attacker(job{id: "links", restarts: 1, args: []string{"-exit-after", "2s", "-exit-code", "1"}},
		"symlink-content", tag, nil)
	s.ends()
	results, _ := s.results()
	testkit.Must(n.t, n.request("PUT", "/v1/system/gc", nil))
	decide(results[:1], "symlink-content", changed([]string{before}, []string{snapshot(n.t, n.targets.Victim)}))
	return results[:1]
}

// logLinks lets a seat print a lot, into files that are links.
func (n *node) logLinks(tag string) []attack.Result {
	n.t.Helper()
	before := snapshot(n.t, n.targets.Victim)
	s := n.attacker(job{id: "logs"}, "symlink-logs", tag, nil)
	// Its last lines went where the log went, if it worked.
	testkit.Within(n.t, time.Minute, "the log was written", func() bool {
		_, done := s.results()
		return done || snapshot(n.t, n.targets.Victim) != before
	})
	results, _ := s.results()
	if len(results) == 0 {
		results = []attack.Result{{Type: attack.TypeAttack, Name: "symlink-logs", Outcome: attack.Planted}}
	}
	decide(results, "symlink-logs", changed([]string{before}, []string{snapshot(n.t, n.targets.Victim)}))
	s.stop()
	return results
}

// flood lets a seat print a lot, and looks how much of it is kept.
func (n *node) flood(tag string) []attack.Result {
	n.t.Helper()
	s := n.attacker(job{id: "flood"}, "log-flood", tag, nil)
	flood := s.attacks()
	if flood[0].Outcome == attack.Succeeded { // it printed all
		flood[0].Outcome = attack.Planted
	}
	var bytes int64
	files, _ := filepath.Glob(filepath.Join(s.allocDir(), "alloc", "logs", "*"))
	for _, file := range files {
		if info, err := os.Lstat(file); err == nil {
			bytes += info.Size()
		}
	}
	var found []string
	if bytes > 12<<20 { // five files of one megabyte for each of two outputs, and the one that is written
		found = []string{fmt.Sprintf("%d bytes of logs are kept", bytes)}
	}
	decide(flood, "log-flood", found)
	s.stop()
	return flood
}

// memory lets a seat take more memory than its job has: the app may be killed, the
// stream host may not.
func (n *node) memory(tag string) []attack.Result {
	n.t.Helper()
	s := n.attacker(job{id: "memory", memoryMB: 400, mayFail: true}, "memory-hog", tag, func(a *attack.Args) { a.MaxBytes = 800 << 20 })
	_, before, err := n.status(s.alloc)
	if s.state() == "running" {
		testkit.Must(n.t, err)
	}
	var results []attack.Result
	testkit.UntilSeen(n.t, "the attack on memory has ended", func() (any, bool) {
		var done bool
		results, done = s.results()
		state := s.state()
		return state, done || state != "running"
	})
	if s.state() == "running" {
		if _, now, err := n.status(s.alloc); err == nil && len(results) > 0 {
			if now.PID != before.PID {
				results[0].Outcome, results[0].Detail = attack.Succeeded, "the stream host is another"
			}
			s.stop()
			return results
		}
	}
	// The app or its display was ended too, before the outcome or just after it; the stream
	// host must have lived to say so.
	s.ends()
	outcome := attack.Result{Type: attack.TypeAttack, Name: "memory-hog", Outcome: attack.Refused, Detail: strings.Join(s.messages(), "; ")}
	if !strings.Contains(outcome.Detail, "app-exited") && !strings.Contains(outcome.Detail, wire.CodeMemory) {
		outcome.Outcome = attack.Succeeded
	}
	if len(results) > 0 && results[0].Outcome == attack.Succeeded {
		return results
	}
	return []attack.Result{outcome}
}

func detail(all []attack.Result, name string) string {
	for _, r := range all {
		if r.Name == name {
			return r.Detail
		}
	}
	return ""
}

// decide says of an attack that planted something whether it worked: whether anything
// is found.
func decide(all []attack.Result, name string, found []string) {
	for i := range all {
		r := &all[i]
		if r.Name != name || r.Outcome != attack.Planted {
			continue
		}
		if len(found) > 0 {
			r.Outcome, r.Detail = attack.Succeeded, strings.Join(found, "; ")
		} else {
			r.Outcome, r.Detail = attack.Refused, "without effect: "+r.Detail
		}
	}
}

func changed(before, after []string) (found []string) {
	for _, now := range after {
		if !slices.Contains(before, now) {
			found = append(found, "changed: "+now)
		}
	}
	if len(after) < len(before) {
		found = append(found, fmt.Sprintf("%d of %d are left", len(after), len(before)))
	}
	return found
}

// cached describes the files of the content cache: text, mode and attributes.
func (n *node) cached() (all []string) {
	files, _ := filepath.Glob(filepath.Join(n.cacheDir(), "objects", "*"))
	for _, file := range files {
		raw, _ := os.ReadFile(file)
		info, err := os.Stat(file)
		testkit.Must(n.t, err)
		value := make([]byte, 100)
		size, err := unix.Getxattr(file, "user.attack", value)
		if err != nil {
			size = 0
			if !errors.Is(err, unix.ENODATA) && !errors.Is(err, unix.EOPNOTSUPP) {
				n.t.Error(err)
			}
		}
		all = append(all, fmt.Sprintf("%s %s %q %q", filepath.Base(file), info.Mode(), raw, value[:size]))
	}
	return all
}

// judge compares the outcomes with the table.
func judge(t *testing.T, got []attack.Result, want func(row) attack.Outcome) {
	t.Helper()
	for _, r := range attacks {
		i := slices.IndexFunc(got, func(g attack.Result) bool { return g.Name == r.name })
		if i < 0 {
			t.Errorf("%s: there is no outcome", r.name)
			continue
		}
		g := got[i]
		if w := want(r); g.Outcome != w && (w != varies || g.Outcome != yes && g.Outcome != no) {
			t.Errorf("%s: %s, want %s: %s", r.name, g.Outcome, w, g.Detail)
		}
	}
	for _, g := range got {
		if !slices.ContainsFunc(attacks, func(r row) bool { return r.name == g.Name }) {
			t.Errorf("%s is not in the table: %s, %s", g.Name, g.Outcome, g.Detail)
		}
	}
}

// keep writes the outcomes where $NEARCAST_OUTCOMES says.
func keep(t *testing.T, name string, got []attack.Result) {
	t.Helper()
	dir := os.Getenv("NEARCAST_OUTCOMES")
	if dir == "" {
		return
	}
	testkit.Must(t, os.MkdirAll(dir, 0o755))
	raw, err := json.MarshalIndent(got, "", "  ")
	testkit.Must(t, err)
	testkit.Must(t, os.WriteFile(filepath.Join(dir, name+".json"), append(raw, '\n'), 0o644))
	var table strings.Builder
	fmt.Fprintf(&table, "| attack | outcome | detail |\n|---|---|---|\n")
	for _, r := range got {
		fmt.Fprintf(&table, "| `%s` | %s | %s |\n", r.Name, r.Outcome, strings.NewReplacer("|", "\\|", "\n", " ").Replace(r.Detail))
	}
	testkit.Must(t, os.WriteFile(filepath.Join(dir, name+".md"), []byte(table.String()), 0o644))
}

func userOf(t *testing.T, pid int) int {
	t.Helper()
	var uid int
	raw, err := os.ReadFile(fmt.Sprintf("/proc/%d/status", pid))
	testkit.Must(t, err)
	for line := range strings.Lines(string(raw)) {
		if n, _ := fmt.Sscanf(line, "Uid: %d", &uid); n == 1 {
			return uid
		}
	}
	t.Fatalf("process %d has no user", pid)
	return 0
}
