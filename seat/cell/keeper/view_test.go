package keeper

import (
	"net"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
)

func write(t *testing.T, path, text string) {
	t.Helper()
	testkit.Must(t, os.MkdirAll(filepath.Dir(path), 0o755))
	testkit.Must(t, os.WriteFile(path, []byte(text), 0o644))
}

// powerless checks what holds with and without a cell.
func powerless(t *testing.T, v view) {
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
	if !slices.Equal(v.FDs, []string{"0", "1", "2"}) {
		t.Errorf("it inherited the descriptors %q", v.FDs)
	}
	if v.Loopback != "" {
		t.Errorf("loopback: %s", v.Loopback)
	}
}

func TestView(t *testing.T) {
	needRoot(t)
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	t.Setenv("NEARCAST_NONCE", "mark")
	s := newSpec(t, true)
	base := filepath.Dir(filepath.Dir(s.RunDir))
	at := func(path string) string { return filepath.Join(base, path) }
	// All of it would be seen, but for what is hidden.
	s.Cell.Paths = []string{base, "/lib", "/etc/os-release"}
	write(t, at("shown/file"), "shown")
	write(t, at("cache/object"), "x")
	write(t, at("run/other/control.sock"), "x")
	write(t, at("alloc/other/task/secret"), "x")
	write(t, at("alloc/ID/alloc/logs/app.stdout"), "x")
	write(t, at("alloc/ID/alloc/data/level"), "level")
	write(t, at("alloc/ID/sidecar/secret"), "x")
	write(t, filepath.Join(s.TaskDir, "model"), "model")
	secrets := filepath.Join(s.TaskDir, "secrets")
	testkit.Must(t, os.Mkdir(secrets, 0o777))
	testkit.Must(t, unix.Mount("tmpfs", secrets, "tmpfs", 0, "mode=777"))
	t.Cleanup(func() { testkit.Must(t, unix.Unmount(secrets, 0)) })
	write(t, filepath.Join(secrets, "token"), "token")
	l, err := net.Listen("unix", filepath.Join(secrets, "api.sock"))
	testkit.Must(t, err)
	defer l.Close()

	c, err := makeCell(t, s)
	testkit.Must(t, err)
	home, runtime := c.Home(), c.Runtime()
	v := seen(t, c, s.TaskDir, []string{"A=1", "NEARCAST_NONCE=forged"}, question{
		Paths: []string{"/", base, at("shown"), at("shown/file"), at("cache"), at("run"), at("alloc"), at("alloc/ID"), at("alloc/ID/alloc"), at("alloc/ID/alloc/logs"),
			at("alloc/ID/alloc/data/level"), s.TaskDir, filepath.Join(s.TaskDir, "model"), filepath.Join(s.TaskDir, "local"), secrets, filepath.Join(secrets, "token"), filepath.Join(secrets, "api.sock"),
			"/usr", "/usr/bin/env", "/etc", "/etc/passwd", "/etc/shadow", "/etc/nearcast", "/etc/resolv.conf", "/etc/hosts", "/dev", "/tmp", "/run", "/dev/shm", home, runtime,
			"/proc/1/environ", "/proc/sys/kernel/hostname", "/proc/kallsyms", "/sys", "/sys/kernel", program, filepath.Dir(program)},
		Fill: []string{"/tmp", s.TaskDir, home, "/dev/shm"},
	})
	powerless(t, v)
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts"} {
		if mine, _ := os.Readlink("/proc/self/ns/" + ns); mine == v.Namespaces[ns] || v.Namespaces[ns] == "" {
			t.Errorf("%s namespace is %s, ours is %s", ns, v.Namespaces[ns], mine)
		}
	}
	if uid, _, _ := strings.Cut(s.User, ":"); v.Status["Uid"] != strings.Join(slices.Repeat([]string{uid}, 4), "\t") || v.Status["Gid"] != v.Status["Uid"] || v.Status["Groups"] != uid {
		t.Errorf("uid %q, gid %q, groups %q, want %s", v.Status["Uid"], v.Status["Gid"], v.Status["Groups"], uid)
	}
	if v.Status["Seccomp"] != "2" {
		t.Errorf("Seccomp is %q", v.Status["Seccomp"])
	}
	if len(v.Pids) != 2 || v.Pids[0] != 1 {
		t.Errorf("it sees the processes %v, want the first one and itself", v.Pids)
	}
	if v.Host != "seat" || v.Dir != s.TaskDir {
		t.Errorf("host %q, directory %q", v.Host, v.Dir)
	}
	if want := []string{"A=1", "NEARCAST_NONCE=mark"}; !slices.Equal(slices.Sorted(slices.Values(v.Env)), want) {
		t.Errorf("environment %q, want %q", v.Env, want)
	}
	if v.Metadata == "" || v.Took > time.Second {
		t.Errorf("connecting to the metadata address: %q after %v, want a refusal at once", v.Metadata, v.Took)
	}
	// Mount points of the test's own directories are there too.
	own := []string{filepath.Base(base), filepath.Base(filepath.Dir(program))}
	slices.Sort(own)
	tmp := ".ICE-unix .X11-unix " + strings.Join(own, " ")
	checkShows(t, v, map[string]string{
		base: "alloc cache run shown", at("shown/file"): "shown", at("cache"): "", at("run"): "", at("alloc"): "ID", at("alloc/ID"): "alloc task",
		at("alloc/ID/alloc"): "data logs", at("alloc/ID/alloc/logs"): "", at("alloc/ID/alloc/data/level"): "level",
		s.TaskDir: "local model secrets", filepath.Join(s.TaskDir, "model"): "model",
		filepath.Join(secrets, "token"): "token", filepath.Join(secrets, "api.sock"): "",
		"/etc/shadow": "error: ", "/etc/nearcast": "error: ", "/etc/resolv.conf": "", "/etc/hosts": "127.0.0.1 localhost seat\n::1 localhost seat\n",
		"/dev": "fd full mqueue null ptmx pts random shm stderr stdin stdout tty urandom zero",
		"/tmp": tmp, "/dev/shm": "", home: "", runtime: "", "/proc/1/environ": "error: ",
		"/proc/sys/kernel/hostname": "seat\n", "/proc/kallsyms": "", filepath.Dir(program): filepath.Base(program),
	}, []string{"/tmp", "/dev/shm", home, runtime, s.TaskDir, filepath.Join(s.TaskDir, "local"), filepath.Join(secrets, "api.sock"), "/proc/kallsyms"})
	if len(v.Full) != 4 || slices.Contains(v.Full, "") || v.Full[0] != unix.ENOSPC.Error() || v.Filled > s.Cell.WritableBytes {
		t.Errorf("wrote %d bytes, %q", v.Filled, v.Full)
	}
	if entries, err := os.ReadDir(s.TaskDir); err != nil || len(entries) != 3 {
		t.Errorf("the node's task directory has %v, %v", entries, err)
	}
	if b, err := os.ReadFile("/proc/self/mountinfo"); err != nil || strings.Contains(string(b), s.RunDir) {
		t.Errorf("mounts of the cell are on the node: %v", err)
	}
}

// checkShows checks what paths show, and that only these can be written.
func checkShows(t *testing.T, v view, shows map[string]string, writable []string) {
	t.Helper()
	for path, want := range shows {
		if got := v.Shows[path]; got != want && (want != "error: " || !strings.HasPrefix(got, want)) {
			t.Errorf("%s shows %q, want %q", path, got, want)
		}
	}
	for path, err := range v.Writes {
		if may := slices.Contains(writable, path); may != (err == "") {
			t.Errorf("%s: writing gives %q, want it to be allowed: %v", path, err, may)
		}
	}
}

// TestViewWithoutCell: the app has no power, but sees the node.
func TestViewWithoutCell(t *testing.T) {
	t.Setenv("AWS_SECRET_ACCESS_KEY", "node's own")
	s := newSpec(t, false)
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	v := seen(t, c, s.TaskDir, []string{"A=1"}, question{Paths: []string{c.Home(), c.Runtime()}})
	powerless(t, v)
	if !slices.Equal(v.Env, []string{"A=1"}) {
		t.Errorf("environment %q", v.Env)
	}
	checkShows(t, v, map[string]string{c.Home(): "", c.Runtime(): ""}, []string{c.Home(), c.Runtime()})
	if info, err := os.Stat(c.Home()); err != nil || info.Mode().Perm() != 0o700 {
		t.Errorf("home: %v, %v", info, err)
	}
	if v.Namespaces["pid"] == "" {
		t.Error("no namespace was read")
	}
}

// Programs that ask for the home of their user, and not for HOME, find the seat's, also
// where a job names the user.
func TestHomeOfTheUser(t *testing.T) {
	needRoot(t)
	for name, user := range map[string]string{"the seat's own": "", "nobody": "nobody:65534", "an id without an account": "54321:54321"} {
		t.Run(name, func(t *testing.T) {
			s := newSpec(t, true)
			if user != "" {
				s.User = user
			}
			c, err := makeCell(t, s)
			testkit.Must(t, err)
			v := seen(t, c, s.TaskDir, nil, question{Paths: []string{c.Home()}})
			if v.Account != "seat "+c.Home() || v.Writes[c.Home()] != "" {
				t.Errorf("the user is %q, writing to %s gives %q", v.Account, c.Home(), v.Writes[c.Home()])
			}
		})
	}
}

func TestResolvConf(t *testing.T) {
	needRoot(t)
	node, _ := os.ReadFile("/etc/resolv.conf")
	s := newSpec(t, true)
	s.Network = wire.NetworkHost
	c, err := makeCell(t, s)
	testkit.Must(t, err)
	v := seen(t, c, s.TaskDir, nil, question{Paths: []string{"/etc/resolv.conf"}})
	if v.Shows["/etc/resolv.conf"] != string(node) {
		t.Errorf("resolv.conf is %q, the node's is %q", v.Shows["/etc/resolv.conf"], node)
	}
	if mine, _ := os.Readlink("/proc/self/ns/net"); mine != v.Namespaces["net"] {
		t.Error("the network namespace is a new one")
	}
	k := keeper{spec: wire.Spec{Network: wire.NetworkInternet}}
	if text := k.resolvConf(); !strings.HasPrefix(text, "nameserver ") {
		t.Errorf("resolv.conf of network internet is %q", text)
	}
}
