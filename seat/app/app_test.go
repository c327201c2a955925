package app

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
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
		case "stream-host":
			runStreamHost(os.Args[2:])
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
	goleak.VerifyTestMain(m, goleak.Cleanup(func(code int) {
		os.RemoveAll(dir)
		os.Exit(code)
	}))
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

// view is what an app sees.
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

// look is the app of most tests. It prints its view.
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
			file := filepath.Join(path, "written")
			err := os.WriteFile(file, nil, 0o600)
			os.Remove(file)
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

func within(t *testing.T) context.Context { return testkit.Context(t, time.Minute) }

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
		t.Fatal("the app does not end")
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
