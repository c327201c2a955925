package app

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"syscall"
	"testing"
	"time"

	"go.uber.org/goleak"
	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

var self string // this executable, where every user can reach it

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case InitArg:
			InitMain()
		case "look":
			look(os.Args[2:])
		case "host":
			host(os.Args[2:])
		}
	}
	dir, err := os.MkdirTemp("", "app-test-")
	if err != nil {
		panic(err)
	}
	self = filepath.Join(dir, "app.test")
	if err := errors.Join(os.Chmod(dir, 0o755), copyFile("/proc/self/exe", self)); err != nil {
		panic(err)
	}
	code := m.Run()
	os.RemoveAll(dir)
	if code == 0 {
		if err := goleak.Find(); err != nil {
			fmt.Println(err)
			code = 1
		}
	}
	os.Exit(code)
}

func copyFile(from, to string) error {
	in, err := os.Open(from)
	if err != nil {
		return err
	}
	defer in.Close()
	out, err := os.OpenFile(to, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		return err
	}
	_, err = io.Copy(out, in)
	return errors.Join(err, out.Close())
}

// view is what an application finds around it.
type view struct {
	PID        int
	UID, GID   int
	Groups     []int
	Namespaces map[string]string
	Pids       []int
	Status     map[string]string // of /proc/self/status
	Env        []string
	FDs        []string
	Dir        string
	Metadata   string // error of connecting there
	Took       time.Duration
	Loopback   string            // error of listening there
	Lists      map[string]string // directory or file → entries, content or error
	Writes     map[string]string // path → error
}

// look is the application of most tests: it prints its view.
func look(paths []string) {
	v := view{PID: os.Getpid(), UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(),
		Namespaces: map[string]string{}, Status: map[string]string{}, Lists: map[string]string{}, Writes: map[string]string{}}
	v.Groups, _ = os.Getgroups()
	v.Dir, _ = os.Getwd()
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts"} {
		v.Namespaces[ns], _ = os.Readlink("/proc/self/ns/" + ns)
	}
	v.Pids = allPids()
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		k, val, _ := strings.Cut(line, ":")
		v.Status[k] = strings.TrimSpace(val)
	}
	if fds, err := os.ReadDir("/proc/self/fd"); err == nil {
		for _, fd := range fds {
			if to, err := os.Readlink("/proc/self/fd/" + fd.Name()); err == nil && !strings.HasPrefix(to, "anon_inode:") && !strings.HasPrefix(to, "/proc/") && !strings.HasPrefix(to, "/sys/") {
				v.FDs = append(v.FDs, fd.Name()+" → "+to)
			}
		}
	}
	begin := time.Now()
	conn, err := net.DialTimeout("tcp", "169.254.169.254:80", 5*time.Second)
	v.Took = time.Since(begin)
	if err == nil {
		conn.Close()
	}
	v.Metadata = text(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		_, err = net.DialTimeout("tcp", l.Addr().String(), time.Second)
	}
	v.Loopback = text(err)
	for _, path := range paths {
		if entries, err := os.ReadDir(path); err == nil {
			var names []string
			for _, e := range entries {
				names = append(names, e.Name())
			}
			v.Lists[path] = strings.Join(names, " ")
			probe := filepath.Join(path, "written")
			err := os.WriteFile(probe, nil, 0o600)
			os.Remove(probe)
			v.Writes[path] = text(err)
		} else if b, ferr := os.ReadFile(path); ferr == nil {
			v.Lists[path] = string(b)
		} else {
			v.Lists[path] = "error: " + ferr.Error()
		}
	}
	json.NewEncoder(os.Stdout).Encode(v)
	os.Exit(0)
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

func allPids() []int {
	var pids []int
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			pids = append(pids, pid)
		}
	}
	return pids
}

func within(t *testing.T) context.Context {
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	t.Cleanup(cancel)
	return ctx
}

func needRoot(t *testing.T) {
	if os.Geteuid() != 0 {
		t.Skip("needs root")
	}
}

// openDir is a directory that every user may write.
func openDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "app-test-dir-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(dir) })
	if err := os.Chmod(dir, 0o777); err != nil {
		t.Fatal(err)
	}
	return dir
}

// modes runs a test with and without isolation.
func modes(t *testing.T, test func(t *testing.T, cfg Config)) {
	for _, isolate := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolate=%v", isolate), func(t *testing.T) {
			if isolate {
				needRoot(t)
			}
			dir := openDir(t)
			test(t, Config{Dir: dir, Isolate: isolate, Network: wire.NetworkNone,
				Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")})
		})
	}
}

func sh(cfg Config, script string) Config {
	cfg.Command, cfg.Args = "/bin/sh", []string{"-c", script}
	return cfg
}

func run(t *testing.T, cfg Config) *Process {
	t.Helper()
	p, err := Start(within(t), cfg)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { p.Stop("SIGKILL", time.Second) })
	return p
}

func wait(t *testing.T, p *Process) {
	t.Helper()
	select {
	case <-p.Done():
	case <-within(t).Done():
		t.Fatal("the application does not end")
	}
}

func output(t *testing.T, cfg Config) string {
	t.Helper()
	b, err := os.ReadFile(cfg.Stdout)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// until polls a condition that has no event to wait on.
func until(t *testing.T, what string, ok func() bool) {
	t.Helper()
	ctx := within(t)
	tick := time.NewTicker(2 * time.Millisecond)
	defer tick.Stop()
	for !ok() {
		select {
		case <-ctx.Done():
			t.Fatalf("no %s in time", what)
		case <-tick.C:
		}
	}
}

// seen runs look and returns what it saw.
func seen(t *testing.T, cfg Config, paths ...string) view {
	t.Helper()
	if cfg.Command == "" {
		cfg.Command = self
	}
	cfg.Args = append([]string{"look"}, paths...)
	p := run(t, cfg)
	wait(t, p)
	if code, sig := p.Exit(); code != 0 || sig != 0 {
		stderr, _ := os.ReadFile(cfg.Stderr)
		t.Fatalf("look: exit %d, signal %d: %s", code, sig, stderr)
	}
	var v view
	if err := json.Unmarshal([]byte(output(t, cfg)), &v); err != nil {
		t.Fatal(err)
	}
	return v
}

func TestIsolation(t *testing.T) {
	needRoot(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	dir := openDir(t)
	secret := openDir(t)
	shown := filepath.Join(secret, "kept")
	volume := openDir(t)
	must(t, os.WriteFile(filepath.Join(secret, "ticket.key"), []byte("x"), 0o644))
	must(t, os.Mkdir(shown, 0o755))
	must(t, os.WriteFile(filepath.Join(shown, "here"), []byte("x"), 0o644))
	must(t, os.WriteFile(filepath.Join(volume, "data"), []byte("x"), 0o644))
	mounted := filepath.Join(dir, "mnt", "volume")

	v := seen(t, Config{Dir: dir, Isolate: true, Network: wire.NetworkNone, User: "nobody",
		Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr"),
		Env:  map[string]string{"DISPLAY": ":7"},
		Hide: []string{secret, "/nonexistent/path", filepath.Join(dir, "stderr")}, Show: []string{shown},
		Mounts: []wire.Mount{{Host: volume, Task: mounted, ReadOnly: true}},
	}, secret, shown, mounted, dir, filepath.Join(secret, "ticket.key"), "/proc/1/environ")

	for _, ns := range []string{"pid", "mnt", "net"} {
		if mine, _ := os.Readlink("/proc/self/ns/" + ns); mine == v.Namespaces[ns] || v.Namespaces[ns] == "" {
			t.Errorf("%s namespace is %s, ours is %s", ns, v.Namespaces[ns], mine)
		}
	}
	if mine, _ := os.Readlink("/proc/self/ns/ipc"); mine != v.Namespaces["ipc"] {
		t.Error("the ipc namespace is another: shared memory with the display would not work")
	}
	if len(v.Pids) != 2 || v.Pids[0] != 1 {
		t.Errorf("sees processes %v, want its parent 1 and itself", v.Pids)
	}
	if v.Metadata == "" || v.Took > time.Second {
		t.Errorf("connecting to the metadata address: %q after %v, want a refusal at once", v.Metadata, v.Took)
	}
	if v.Loopback != "" {
		t.Errorf("loopback: %s", v.Loopback)
	}
	if v.UID != 65534 || v.GID != 65534 || !slices.Equal(v.Groups, []int{65534}) {
		t.Errorf("uid %d, gid %d, groups %v", v.UID, v.GID, v.Groups)
	}
	checkPowerless(t, v)
	for path, want := range map[string]string{
		secret:                              "kept",
		shown:                               "here",
		mounted:                             "data",
		filepath.Join(secret, "ticket.key"): "error: ",
		"/proc/1/environ":                   "error: ",
	} {
		if got := v.Lists[path]; !strings.HasPrefix(got, want) || want != "error: " && got != want {
			t.Errorf("%s shows %q, want %q", path, got, want)
		}
	}
	for _, path := range []string{secret, mounted} {
		if v.Writes[path] == "" {
			t.Errorf("%s can be written", path)
		}
	}
	if v.Writes[dir] != "" || v.Dir != dir {
		t.Errorf("working directory %s: %s", v.Dir, v.Writes[dir])
	}
	wantEnv := []string{"DISPLAY=:7", "HOME=" + dir + "/.nearcast", "LOGNAME=nobody", "PATH=" + defaultPath,
		"USER=nobody", "XDG_RUNTIME_DIR=" + dir + "/.nearcast/.runtime"}
	if !slices.Equal(v.Env, wantEnv) {
		t.Errorf("environment %q\nwant %q", v.Env, wantEnv)
	}
	mounts, err := os.ReadFile("/proc/self/mountinfo")
	must(t, err)
	if strings.Contains(string(mounts), secret) || strings.Contains(string(mounts), mounted) {
		t.Error("the application's mounts are the host's too")
	}
}

// TestDirInHiddenPath: a task's directory lies below the agent's, which is hidden.
func TestDirInHiddenPath(t *testing.T) {
	needRoot(t)
	data := openDir(t)
	dir := filepath.Join(data, "alloc", "task")
	secrets := filepath.Join(dir, "secrets")
	must(t, os.MkdirAll(secrets, 0o755))
	must(t, os.WriteFile(filepath.Join(secrets, "token"), []byte("x"), 0o644))
	must(t, os.Chmod(dir, 0o777))
	out := openDir(t)
	v := seen(t, Config{Dir: dir, Isolate: true, Hide: []string{secrets, data},
		Stdout: filepath.Join(out, "stdout"), Stderr: filepath.Join(out, "stderr")}, data, dir, secrets)
	if v.Lists[data] != "alloc" || v.Lists[dir] != ".nearcast secrets" || v.Lists[secrets] != "" {
		t.Errorf("sees %q", v.Lists)
	}
}

func TestHostNetwork(t *testing.T) {
	needRoot(t)
	dir := openDir(t)
	v := seen(t, Config{Dir: dir, Isolate: true, Network: wire.NetworkHost, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")})
	if mine, _ := os.Readlink("/proc/self/ns/net"); mine != v.Namespaces["net"] {
		t.Error("the network namespace is another")
	}
}

func TestPowerlessWithoutIsolation(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	dir := openDir(t)
	v := seen(t, Config{Dir: dir, Stdout: filepath.Join(dir, "stdout"), Stderr: filepath.Join(dir, "stderr")})
	checkPowerless(t, v)
	for _, kv := range v.Env {
		if strings.HasPrefix(kv, "AWS_") {
			t.Errorf("environment has %s", kv)
		}
	}
}

func checkPowerless(t *testing.T, v view) {
	t.Helper()
	for _, set := range []string{"CapInh", "CapPrm", "CapEff", "CapBnd", "CapAmb"} {
		if os.Geteuid() != 0 && set == "CapBnd" {
			continue
		}
		if strings.Trim(v.Status[set], "0") != "" || v.Status[set] == "" {
			t.Errorf("%s is %s", set, v.Status[set])
		}
	}
	if v.Status["NoNewPrivs"] != "1" {
		t.Errorf("NoNewPrivs is %q", v.Status["NoNewPrivs"])
	}
	if len(v.FDs) != 3 {
		t.Errorf("has descriptors %q, want the standard three", v.FDs)
	}
}

func TestExitIsExact(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		for _, c := range []struct {
			script    string
			code, sig int
		}{
			{"exit 0", 0, 0},
			{"exit 3", 3, 0},
			{"exit 137", 137, 0},
			{"kill -ABRT $$", 0, int(unix.SIGABRT)},
			{"kill -KILL $$", 0, int(unix.SIGKILL)},
			{"ulimit -c 0; kill -SEGV $$", 0, int(unix.SIGSEGV)},
		} {
			p := run(t, sh(cfg, c.script))
			wait(t, p)
			if code, sig := p.Exit(); code != c.code || sig != c.sig {
				t.Errorf("%s: exit %d, signal %d; want %d, %d", c.script, code, sig, c.code, c.sig)
			}
			if err := p.Signal("SIGHUP"); !errors.Is(err, os.ErrProcessDone) {
				t.Errorf("Signal after the end: %v", err)
			}
			if err := p.Stop("", 0); err != nil {
				t.Errorf("Stop after the end: %v", err)
			}
		}
	})
}

func TestStartErrors(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		file := filepath.Join(cfg.Dir, "plain")
		must(t, os.WriteFile(file, []byte("no program"), 0o644))
		garbage := filepath.Join(cfg.Dir, "garbage")
		must(t, os.WriteFile(garbage, []byte{1, 2, 3}, 0o755))
		script := filepath.Join(cfg.Dir, "script")
		must(t, os.WriteFile(script, []byte("#!/no/such/interpreter\n"), 0o755))
		set := func(change func(*Config)) Config {
			c := cfg
			c.Command = "/bin/true"
			change(&c)
			return c
		}
		for name, c := range map[string]struct {
			cfg  Config
			code string
			has  string
		}{
			"no command":        {set(func(c *Config) { c.Command = "" }), wire.CodeAppNotFound, "command"},
			"missing":           {set(func(c *Config) { c.Command = "/no/such/game" }), wire.CodeAppNotFound, "/no/such/game does not exist"},
			"missing relative":  {set(func(c *Config) { c.Command = "local/game" }), wire.CodeAppNotFound, "local/game does not exist"},
			"not in PATH":       {set(func(c *Config) { c.Command = "nosuchgame" }), wire.CodeAppNotFound, "PATH"},
			"not executable":    {set(func(c *Config) { c.Command = file }), wire.CodeAppNotFound, "not executable"},
			"directory":         {set(func(c *Config) { c.Command = cfg.Dir }), wire.CodeAppNotFound, "directory"},
			"no format":         {set(func(c *Config) { c.Command = garbage }), wire.CodeAppNotFound, "cannot be executed"},
			"no interpreter":    {set(func(c *Config) { c.Command = script }), wire.CodeAppNotFound, "interpreter"},
			"unknown user":      {set(func(c *Config) { c.User = "no-such-user" }), wire.CodeConfig, "no-such-user"},
			"no directory":      {set(func(c *Config) { c.Dir = "/no/such/dir" }), wire.CodeConfig, "/no/such/dir"},
			"unknown network":   {set(func(c *Config) { c.Network = "bridge" }), wire.CodeConfig, "bridge"},
			"unopenable output": {set(func(c *Config) { c.Stdout = "/no/such/dir/out" }), wire.CodeConfig, "/no/such/dir/out"},
		} {
			p, err := Start(within(t), c.cfg)
			if p != nil {
				p.Stop("SIGKILL", time.Second)
			}
			var end wire.End
			if !errors.As(err, &end) || end.Reason != wire.ReasonError || end.Code != c.code || !strings.Contains(end.Detail, c.has) {
				t.Errorf("%s: %v, want %s with %q", name, err, c.code, c.has)
			}
		}
	})
}

func TestMissingMount(t *testing.T) {
	needRoot(t)
	_, err := Start(within(t), Config{Command: "/bin/true", Dir: openDir(t), Isolate: true,
		Mounts: []wire.Mount{{Host: "/no/such/volume", Task: "/mnt"}}})
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeConfig {
		t.Errorf("missing mount: %v", err)
	}
}

func TestCommandIsFoundByName(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		must(t, os.WriteFile(filepath.Join(cfg.Dir, "game"), []byte("#!/bin/sh\nexit 7\n"), 0o755))
		for _, c := range []struct {
			command string
			code    int
		}{{"false", 1}, {"game", 7}, {"./game", 7}} {
			cfg := cfg
			cfg.Command = c.command
			p := run(t, cfg)
			wait(t, p)
			if code, _ := p.Exit(); code != c.code {
				t.Errorf("%s: exit %d, want %d", c.command, code, c.code)
			}
		}
	})
}

func TestSignalReachesTheApplication(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `trap 'echo got; exit 4' HUP; echo up; while :; do sleep 0.01; done`))
		until(t, "trap", func() bool { return strings.Contains(output(t, cfg), "up") })
		if err := p.Signal("SIGNAL"); err == nil {
			t.Error("SIGNAL was taken for a signal")
		}
		must(t, p.Signal("SIGHUP"))
		wait(t, p)
		if code, _ := p.Exit(); code != 4 {
			t.Errorf("exit %d, output %q", code, output(t, cfg))
		}
	})
}

// stubborn leaves a daemon and ignores what can be ignored.
const stubborn = `setsid sh -c '(trap "" TERM HUP INT; setsid sleep 1000 & setsid sleep 1000) &' &
	trap '' TERM; echo up; while :; do sleep 0.01; done`

// daemons counts the daemons among processes.
func daemons(pids []int) (n int) {
	for _, pid := range pids {
		if b, err := os.ReadFile(fmt.Sprintf("/proc/%d/cmdline", pid)); err == nil && string(b) == "sleep\x001000\x00" {
			n++
		}
	}
	return n
}

func TestStopLeavesNobody(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, stubborn))
		var pids []int
		until(t, "daemons", func() bool { pids = p.Pids(); return daemons(pids) == 2 })
		if !slices.Contains(pids, p.PID()) || p.PID() == 0 {
			t.Errorf("Pids %v without PID %d", pids, p.PID())
		}
		must(t, p.Freeze()) // a frozen application must be thawed to end
		must(t, p.Stop("SIGINT", 50*time.Millisecond))
		select {
		case <-p.Done():
		default:
			t.Error("Stop returned before the end")
		}
		checkGone(t, pids)
	})
}

func TestStopIsPolite(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `trap 'echo saved; exit 0' TERM; echo up; sleep 1000 & wait`))
		until(t, "trap", func() bool { return strings.Contains(output(t, cfg), "up") })
		must(t, p.Freeze())
		must(t, p.Stop("", 10*time.Second))
		if code, sig := p.Exit(); code != 0 || sig != 0 || !strings.Contains(output(t, cfg), "saved") {
			t.Errorf("exit %d, signal %d, output %q", code, sig, output(t, cfg))
		}
	})
}

func TestExitTakesDaemonsAlong(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		fifo := filepath.Join(cfg.Dir, "go")
		must(t, unix.Mkfifo(fifo, 0o666))
		p := run(t, sh(cfg, `setsid sh -c 'setsid sleep 1000 & setsid sleep 1000' & read x < go; exit 5`))
		var pids []int
		until(t, "daemons", func() bool { pids = p.Pids(); return daemons(pids) == 2 })
		must(t, os.WriteFile(fifo, []byte("x\n"), 0))
		wait(t, p)
		if code, _ := p.Exit(); code != 5 {
			t.Errorf("exit %d", code)
		}
		checkGone(t, pids)
	})
}

func TestFreezeUsesNoProcessor(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `(setsid sh -c 'while :; do :; done' &) ; while :; do i=$((i+1)); done`))
		until(t, "work", func() bool { return len(p.Pids()) >= 2 && ticks(p) > 0 })
		must(t, p.Freeze())
		until(t, "standstill", func() bool { return allStopped(p) })
		before := ticks(p)
		// Time passes, as another process's loop that takes a while shows.
		if err := exec.CommandContext(within(t), "sleep", "0.3").Run(); err != nil {
			t.Fatal(err)
		}
		if after := ticks(p); after != before {
			t.Errorf("a frozen application used %d ticks", after-before)
		}
		must(t, p.Freeze()) // twice is harmless
		must(t, p.Thaw())
		until(t, "work after the thaw", func() bool { return ticks(p) > before })
	})
}

func TestFreezeWhileForking(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		p := run(t, sh(cfg, `while :; do /bin/true & done`))
		until(t, "children", func() bool { return len(p.Pids()) >= 2 })
		for range 5 {
			must(t, p.Freeze())
			until(t, "standstill", func() bool { return allStopped(p) })
			must(t, p.Thaw())
		}
	})
}

// TestKilledHostLeavesNobody kills a process that runs an application.
func TestKilledHostLeavesNobody(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		cmd := exec.CommandContext(within(t), self, "host", cfg.Dir, strconv.FormatBool(cfg.Isolate))
		cmd.Stderr = os.Stderr
		out, err := cmd.StdoutPipe()
		must(t, err)
		must(t, cmd.Start())
		line, err := bufio.NewReader(out).ReadString('\n')
		must(t, err)
		var pids []int
		must(t, json.Unmarshal([]byte(line), &pids))
		cmd.Process.Kill()
		cmd.Wait()
		checkGone(t, pids)
	})
}

// host runs a stubborn application, prints its processes, and waits to be killed.
func host(args []string) {
	p, err := Start(context.Background(), sh(Config{Dir: args[0], Isolate: args[1] == "true"}, stubborn))
	if err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	for daemons(p.Pids()) < 2 {
		time.Sleep(time.Millisecond)
	}
	json.NewEncoder(os.Stdout).Encode(append(p.Pids(), p.parent))
	<-p.Done()
	os.Exit(0)
}

func TestOutputOverFIFO(t *testing.T) {
	modes(t, func(t *testing.T, cfg Config) {
		fifo := filepath.Join(cfg.Dir, "fifo")
		must(t, unix.Mkfifo(fifo, 0o600))
		cfg.Stdout = fifo
		p := run(t, sh(cfg, "echo hello; exec sleep 1000")) // opens without a reader
		r, err := os.OpenFile(fifo, os.O_RDWR, 0)
		must(t, err)
		defer r.Close()
		line, err := bufio.NewReader(r).ReadString('\n')
		if err != nil || line != "hello\n" {
			t.Errorf("read %q, %v", line, err)
		}
		must(t, p.Stop("SIGKILL", 0))
	})
}

// TestHomeIsNotALink: content may bring a link to where it must not write.
func TestHomeIsNotALink(t *testing.T) {
	dir, victim := openDir(t), openDir(t)
	must(t, os.Symlink(victim, filepath.Join(dir, ".nearcast")))
	_, err := Start(within(t), Config{Command: "/bin/true", Dir: dir})
	var end wire.End
	if !errors.As(err, &end) || end.Code != wire.CodeConfig {
		t.Errorf("home through a link: %v", err)
	}
}

func TestLookup(t *testing.T) {
	for name, want := range map[string]identity{
		"nobody":    {Name: "nobody", UID: 65534, GID: 65534},
		"65534":     {Name: "nobody", UID: 65534, GID: 65534},
		"1234:5678": {UID: 1234, GID: 5678},
	} {
		id, err := lookup(name)
		if err != nil || id.Name != want.Name || id.UID != want.UID || !slices.Contains(id.Groups, id.GID) {
			t.Errorf("%s: %+v, %v", name, id, err)
		}
	}
	for _, name := range []string{"no-such-user", "4242424", "nobody:5", "1:x", "-1", "1:-1"} {
		if id, err := lookup(name); err == nil {
			t.Errorf("%s: %+v", name, id)
		}
	}
}

func must(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func checkGone(t *testing.T, pids []int) {
	t.Helper()
	until(t, "end of all", func() bool {
		return !slices.ContainsFunc(pids, func(pid int) bool {
			_, alive := parentOf(pid)
			return alive
		})
	})
	for _, pid := range pids {
		if err := syscall.Kill(pid, 0); err == nil {
			if _, alive := parentOf(pid); alive {
				t.Errorf("process %d is left", pid)
			}
		}
	}
}

func stat(pid int) []string {
	b, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return nil
	}
	return strings.Fields(string(b[strings.LastIndexByte(string(b), ')')+1:]))
}

// ticks is the processor time of the application's processes.
func ticks(p *Process) (sum int) {
	for _, pid := range p.Pids() {
		if f := stat(pid); len(f) > 13 {
			user, _ := strconv.Atoi(f[11])
			system, _ := strconv.Atoi(f[12])
			sum += user + system
		}
	}
	return sum
}

func allStopped(p *Process) bool {
	for _, pid := range p.Pids() {
		if f := stat(pid); len(f) > 0 && f[0] != "T" {
			return false
		}
	}
	return true
}
