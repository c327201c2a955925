package keeper

import (
	"encoding/json"
	"errors"
	"io"
	"net"
	"os"
	"os/user"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/seat/cell"
)

// question is what the app of a test looks at.
type question struct {
	Paths []string // to list, read, and write below
	Fill  []string // directories to fill, one after the other
}

// view is what it sees.
type view struct {
	UID, GID   int
	Groups     []int
	Namespaces map[string]string
	Pids       []int
	Status     map[string]string // of /proc/self/status
	Env        []string
	FDs        []string
	Dir, Host  string
	Account    string // name and home of its user, by its uid
	Metadata   string // error of connecting there
	Took       time.Duration
	Loopback   string            // error of connecting there
	Shows      map[string]string // path → entries, content or error
	Writes     map[string]string // path → error of writing there
	Filled     int64             // bytes
	Full       []string          // error for each directory
}

func text(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// look is the app of most tests. It prints its view.
func look() {
	var q question
	json.Unmarshal([]byte(os.Args[2]), &q)
	v := view{UID: os.Getuid(), GID: os.Getgid(), Env: os.Environ(),
		Namespaces: map[string]string{}, Status: map[string]string{}, Shows: map[string]string{}, Writes: map[string]string{}}
	v.Groups, _ = os.Getgroups()
	v.Dir, _ = os.Getwd()
	v.Host, _ = os.Hostname()
	if u, err := user.LookupId(strconv.Itoa(v.UID)); err == nil {
		v.Account = u.Username + " " + u.HomeDir
	}
	for _, ns := range []string{"pid", "mnt", "net", "ipc", "uts"} {
		v.Namespaces[ns], _ = os.Readlink("/proc/self/ns/" + ns)
	}
	entries, _ := os.ReadDir("/proc")
	for _, e := range entries {
		if pid, err := strconv.Atoi(e.Name()); err == nil {
			v.Pids = append(v.Pids, pid)
		}
	}
	status, _ := os.ReadFile("/proc/self/status")
	for line := range strings.Lines(string(status)) {
		key, value, _ := strings.Cut(line, ":")
		v.Status[key] = strings.TrimSpace(value)
	}
	fds, _ := os.ReadDir("/proc/self/fd")
	for _, fd := range fds {
		// Go's own, and the one that reads the list, close on exec.
		n, _ := strconv.Atoi(fd.Name())
		if flags, err := unix.FcntlInt(uintptr(n), unix.F_GETFD, 0); err == nil && flags&unix.FD_CLOEXEC == 0 {
			v.FDs = append(v.FDs, fd.Name())
		}
	}
	begin := time.Now()
	_, err := net.DialTimeout("tcp", "169.254.169.254:80", 5*time.Second)
	v.Took, v.Metadata = time.Since(begin), text(err)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err == nil {
		_, err = net.DialTimeout("tcp", l.Addr().String(), time.Second)
	}
	v.Loopback = text(err)
	for _, path := range q.Paths {
		v.Shows[path], v.Writes[path] = show(path)
	}
	for _, dir := range q.Fill {
		n, err := fill(filepath.Join(dir, "filled"))
		v.Filled += n
		v.Full = append(v.Full, text(errors.Unwrap(err)))
	}
	json.NewEncoder(os.Stdout).Encode(v)
	os.Exit(0)
}

func show(path string) (shows, writes string) {
	if entries, err := os.ReadDir(path); err == nil {
		var names []string
		for _, e := range entries {
			names = append(names, e.Name())
		}
		file := filepath.Join(path, "written")
		err := os.WriteFile(file, nil, 0o600)
		os.Remove(file)
		return strings.Join(names, " "), text(err)
	}
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err == nil {
		f.Close()
	}
	writes = text(err)
	f, err = os.Open(path)
	if err != nil {
		return "error: " + err.Error(), writes
	}
	defer f.Close()
	b, err := io.ReadAll(io.LimitReader(f, 4096))
	if err != nil {
		return "error: " + err.Error(), writes
	}
	return string(b), writes
}

// fill writes until nothing more can be written, 64 MiB at most.
func fill(path string) (n int64, err error) {
	f, err := os.Create(path)
	if err != nil {
		return 0, err
	}
	defer f.Close()
	block := make([]byte, 64<<10)
	for n < 64<<20 && err == nil {
		var w int
		w, err = f.Write(block)
		n += int64(w)
	}
	return n, err
}

// seen runs look in a cell.
func seen(t *testing.T, c *cell.Client, dir string, env []string, q question) (v view) {
	t.Helper()
	b, err := json.Marshal(q)
	testkit.Must(t, err)
	out, result := run(t, c, cell.Program{Path: program, Args: []string{program, lookArg, string(b)}, Env: env, Dir: dir})
	if result != (cell.Result{}) {
		t.Fatalf("look: %+v: %s", result, out)
	}
	if err := json.Unmarshal([]byte(out), &v); err != nil {
		t.Fatalf("look: %v: %s", err, out)
	}
	return v
}
