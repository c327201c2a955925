package keeper

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
)

// streamHost is the stream host of these tests. The job of the spec says what it does.
func streamHost() int {
	conn, err := cell.NewConn(os.NewFile(cell.KeeperFD, "keeper"))
	if err != nil {
		fmt.Println(err)
		return 1
	}
	var spec wire.Spec
	if err := json.NewDecoder(os.NewFile(cell.SpecFD, "spec")).Decode(&spec); err != nil {
		fmt.Println(err)
		return 1
	}
	switch spec.Job {
	case "die":
		unix.Kill(os.Getpid(), unix.SIGKILL)
	case "ask":
		ask(conn)
	case "cancel":
		cancelContent(conn)
	case "overtake":
		overtakeContent(conn)
	case "keep":
		_, err := cell.NewKeeper(conn).Content(context.Background(), func(int64, int64, string) {})
		fmt.Println("content", err == nil)
		fmt.Println(os.Getpid())
	case "spoilt":
		k := cell.NewKeeper(conn)
		_, err := k.Content(context.Background(), func(int64, int64, string) {})
		fmt.Println("content", err == nil)
		end := <-k.ContentSpoilt()
		fmt.Println(end.Code, k.Report(wire.Exit{End: end}) == nil)
	case "answered":
		conn.Send(cell.Request{Op: "reboot"})
		var n cell.Notice
		conn.Receive(&n)
		fmt.Println(os.Getpid())
		conn.Receive(&n) // until this process is ended
	case "beside":
		if err := lookBeside(conn, spec.TaskDir); err != nil {
			fmt.Println(err)
			return 1
		}
	case "stay":
		if err := stay(conn); err != nil {
			fmt.Println(err)
			return 1
		}
	}
	return 0
}

// ask makes requests and prints the answers.
func ask(conn *cell.Conn) {
	exit := &wire.Exit{Nonce: "forged", End: wire.End{Reason: wire.ReasonLeft}}
	for _, r := range []cell.Request{
		{Op: "reboot"}, {}, {Op: cell.RequestReport},
		{Op: cell.RequestContent}, {Op: cell.RequestContent},
		{Op: cell.RequestCell}, {Op: cell.RequestCell},
		{Op: cell.RequestReport, Exit: exit}, {Op: cell.RequestReport, Exit: exit},
	} {
		conn.Send(r, os.Stdin) // with a file that nobody asked for
		for {
			var n cell.Notice
			files, err := conn.Receive(&n)
			if err != nil {
				fmt.Println(err)
				return
			}
			if n.Answer == "" && n.Failed == nil {
				fmt.Println("progress", n.Done, n.Total, n.File)
				continue
			}
			fmt.Println(r.Op, n.Failed == nil, n.Cell != nil, len(files))
			closeAll(files)
			break
		}
	}
}

// cancelContent cancels a fetch while it tells of its progress, and prints whether the
// process that fetched is gone once the keeper answers again.
func cancelContent(conn *cell.Conn) {
	ctx, cancel := context.WithCancel(context.Background())
	k := cell.NewKeeper(conn)
	fetcher := 0
	_, err := k.Content(ctx, func(_, _ int64, pid string) {
		fetcher, _ = strconv.Atoi(pid)
		cancel()
	})
	fmt.Println("cancelled", errors.Is(err, context.Canceled))
	fmt.Println("reported", k.Report(wire.Exit{End: wire.End{Reason: wire.ReasonDrained}}) == nil)
	fmt.Println("gone", fetcher > 0 && errors.Is(unix.Kill(fetcher, 0), unix.ESRCH))
}

// overtakeContent makes another request while content is fetched, and prints the answers.
func overtakeContent(conn *cell.Conn) {
	conn.Send(cell.Request{Op: cell.RequestContent})
	for asked, answers := false, 0; answers < 2; {
		var n cell.Notice
		files, err := conn.Receive(&n)
		if err != nil {
			fmt.Println(err)
			return
		}
		closeAll(files)
		if n.Answer != "" {
			fmt.Println(n.Answer, n.Failed == nil)
			answers++
		} else if !asked {
			asked = true
			conn.Send(cell.Request{Op: cell.RequestReport, Exit: &wire.Exit{End: wire.End{Reason: wire.ReasonDrained}}})
		}
	}
}

// A request that is made while content is fetched ends the fetch, and is carried out.
func TestRequestWhileContentIsFetched(t *testing.T) {
	s := newSpec(t, false)
	s.Job, s.Content = "overtake", []wire.Content{{Source: "s3://bucket/key", Destination: "local/x"}}
	k := keep(t, s)
	for _, want := range []string{"content false", "report true"} {
		line, err := k.read.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("the stream host printed %q (%v), want %q", line, err, want)
		}
	}
	k.end(t)
}

// A fetch that the stream host gave up ends, and the keeper then carries out what it is
// asked.
func TestContentIsCancelled(t *testing.T) {
	s := newSpec(t, false)
	s.Job, s.Content = "cancel", []wire.Content{{Source: "s3://bucket/key", Destination: "local/x"}}
	k := keep(t, s)
	for _, want := range []string{"cancelled true", "reported true", "gone true"} {
		line, err := k.read.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("the stream host printed %q (%v), want %q", line, err, want)
		}
	}
	k.end(t)
}

// The process that fetched goes on after the seat has its files, to write them to the cache,
// and the keeper waits for it.
func TestContentIsKept(t *testing.T) {
	s := newSpec(t, false)
	s.Job, s.Content = "keep", []wire.Content{{Source: "s3://bucket/key", Destination: "local/x"}}
	k := keep(t, s)
	var host int
	line, err := k.read.ReadString('\n')
	if err == nil && line == "content true\n" {
		line, err = k.read.ReadString('\n')
		host, _ = strconv.Atoi(strings.TrimSpace(line))
	}
	if host == 0 {
		t.Fatalf("the stream host printed %q (%v)", line, err)
	}
	testkit.Until(t, "the stream host has ended", func() bool { return errors.Is(unix.Kill(host, 0), unix.ESRCH) })
	testkit.Must(t, os.WriteFile(filepath.Join(s.TaskDir, "go"), nil, 0o644))
	k.end(t)
	if _, err := os.Stat(filepath.Join(s.TaskDir, "kept")); err != nil {
		t.Error(err)
	}
}

// The disk did not take the seat's files, after they were there: the stream host hears of it.
func TestContentIsSpoilt(t *testing.T) {
	s := newSpec(t, false)
	s.Job, s.Content = "spoilt", []wire.Content{{Source: "s3://bucket/key", Destination: "local/x"}}
	k := keep(t, s)
	for _, want := range []string{"content true", "disk-failed true"} {
		line, err := k.read.ReadString('\n')
		if err != nil || strings.TrimSpace(line) != want {
			t.Fatalf("the stream host printed %q (%v), want %q", line, err, want)
		}
	}
	k.end(t)
}

// stay runs a stubborn app, prints pids of all processes, and waits to be killed.
func stay(conn *cell.Conn) error {
	ctx := context.Background()
	c, made, stdout, stderr, _, err := cell.NewKeeper(conn).Cell(ctx)
	if err != nil {
		return err
	}
	const script = `setsid sh -c '(trap "" TERM HUP INT; setsid sleep 1000 & setsid sleep 1000) &' & trap '' TERM; while :; do sleep 0.01; done`
	app, err := c.Start(ctx, cell.Program{Name: cell.App, Path: "/bin/sh", Args: []string{"sh", "-c", script}, Env: []string{"PATH=/usr/bin:/bin"}, Dir: "/"}, nil, stdout, stderr)
	if err != nil {
		return err
	}
	fmt.Println(os.Getpid(), made.Init, app.PID)
	<-c.Done()
	return errors.New("the cell has ended")
}

// fetchContent takes the place of the process that fetches content.
func fetchContent() int {
	conn, err := cell.NewConn(os.NewFile(cell.KeeperFD, "keeper"))
	if err != nil {
		return 1
	}
	var spec wire.Spec
	if err := json.NewDecoder(os.NewFile(cell.SpecFD, "spec")).Decode(&spec); err != nil {
		return 1
	}
	if spec.Job == "beside" {
		if err := putContent(spec.TaskDir); err != nil {
			return 1
		}
		conn.Send(cell.Notice{Answer: cell.RequestContent})
		return 0
	}
	if spec.Job == "keep" {
		conn.Send(cell.Notice{Answer: cell.RequestContent})
		for { // until the test lets it write
			if _, err := os.Stat(filepath.Join(spec.TaskDir, "go")); err == nil {
				break
			}
			<-time.After(time.Millisecond)
		}
		if os.WriteFile(filepath.Join(spec.TaskDir, "kept"), nil, 0o644) != nil {
			return 1
		}
		return 0
	}
	if spec.Job == "spoilt" {
		conn.Send(cell.Notice{Answer: cell.RequestContent})
		conn.Send(cell.Notice{Spoilt: &wire.End{Reason: wire.ReasonError, Code: wire.CodeDiskFailed}})
		return 0
	}
	for spec.Job != "ask" { // until it is told to end
		if err := conn.Send(cell.Notice{Done: 1, Total: 2, File: strconv.Itoa(os.Getpid())}); err != nil {
			return 1
		}
	}
	conn.Send(cell.Notice{Done: 1, Total: 2, File: "x"})
	conn.Send(cell.Notice{Answer: cell.RequestContent}, os.Stdin)
	return 0
}

// kept is a keeper that runs.
type kept struct {
	*testkit.Process
	spec wire.Spec
	out  *os.File
	read *bufio.Reader
	cmd  *exec.Cmd
}

func keep(t *testing.T, s wire.Spec) *kept {
	t.Helper()
	b, err := json.Marshal(s)
	testkit.Must(t, err)
	path := filepath.Join(s.RunDir, wire.SpecFile)
	testkit.Must(t, os.WriteFile(path, b, 0o600))
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	t.Cleanup(func() { r.Close() })
	cmd := exec.Command(program, "--spec", path)
	cmd.Env = []string{"NEARCAST_NONCE=" + s.Nonce}
	cmd.Stdout, cmd.Stderr = w, os.Stderr
	if !testing.Verbose() {
		cmd.Stderr = nil
	}
	k := &kept{testkit.Start(t, cmd), s, r, bufio.NewReader(r), cmd}
	w.Close()
	r.SetReadDeadline(time.Now().Add(time.Minute))
	return k
}

// end waits for the end of the keeper, and returns its exit status.
func (k *kept) end(t *testing.T) int {
	t.Helper()
	select {
	case <-k.Done():
	case <-testkit.Context(t, time.Minute).Done():
		t.Fatal("the keeper does not end")
	}
	return k.cmd.ProcessState.ExitCode()
}

// clean checks that nothing of the seat is left in its run directory but the reports.
func (k *kept) clean(t *testing.T) {
	t.Helper()
	entries, err := os.ReadDir(k.spec.RunDir)
	testkit.Must(t, err)
	for _, e := range entries {
		if !slices.Contains([]string{wire.SpecFile, wire.ExitFile}, e.Name()) {
			t.Errorf("%s is left", e.Name())
		}
	}
}

// TestRequests: each request is carried out once, and none that is unknown.
func TestRequests(t *testing.T) {
	modes(t, func(t *testing.T, s wire.Spec) {
		s.Job = "ask"
		s.Content = []wire.Content{{Source: "s3://b/x", Destination: "x"}}
		k := keep(t, s)
		out, err := io.ReadAll(k.read)
		testkit.Must(t, err)
		want := `reboot false false 0
 false false 0
report false false 0
progress 1 2 x
content true false 0
content false false 0
cell true true 3
cell false false 0
report true false 0
report false false 0
`
		if string(out) != want {
			t.Errorf("answers\n%swant\n%s", out, want)
		}
		if code := k.end(t); code != exitWell {
			t.Errorf("exit status %d", code)
		}
		var exit wire.Exit
		b, err := os.ReadFile(filepath.Join(s.RunDir, wire.ExitFile))
		testkit.Must(t, err)
		testkit.Must(t, json.Unmarshal(b, &exit))
		if exit.Nonce != s.Nonce || exit.End.Reason != wire.ReasonLeft {
			t.Errorf("%+v", exit)
		}
		k.clean(t)
	})
}

// TestHostDies: the stream host ends before it asks for the cell, which was made ahead.
func TestHostDies(t *testing.T) {
	modes(t, func(t *testing.T, s wire.Spec) {
		s.Job = "die"
		k := keep(t, s)
		if code := k.end(t); code != exitFailed {
			t.Errorf("exit status %d", code)
		}
		k.clean(t)
		if _, err := os.Stat(filepath.Join(s.RunDir, wire.ExitFile)); err == nil {
			t.Error("there is a report")
		}
	})
}

// TestKillOne: whichever process of a seat is killed, no other is left. Without a cell,
// orphans of the app are left to the driver.
func TestKillOne(t *testing.T) {
	for _, victim := range []string{"keeper", "stream host", "first process"} {
		t.Run(victim, func(t *testing.T) {
			modes(t, func(t *testing.T, s wire.Spec) {
				s.Job = "stay"
				k := keep(t, s)
				line, err := k.read.ReadString('\n')
				testkit.Must(t, err)
				var host, first, app int
				if _, err := fmt.Sscan(line, &host, &first, &app); err != nil {
					t.Fatalf("%v: %s", err, line)
				}
				all := []int{k.PID(), host, first, app}
				var below []int
				testkit.Until(t, "orphans", func() bool {
					below = nil
					for _, p := range cell.Descendants(first, nil) {
						below = append(below, p.PID)
					}
					return len(below) >= 4
				})
				if s.Isolate || victim == "stream host" {
					all = append(all, below...)
				} else {
					defer func() {
						for _, pid := range below {
							unix.Kill(pid, unix.SIGKILL)
						}
						gone(t, below)
					}()
				}
				unix.Kill(map[string]int{"keeper": k.PID(), "stream host": host, "first process": first}[victim], unix.SIGKILL)
				gone(t, all)
			})
		})
	}
}

func gone(t *testing.T, pids []int) {
	t.Helper()
	testkit.UntilSeen(t, "end of all processes", func() (any, bool) {
		var left []int
		for _, pid := range pids {
			if _, ok := cell.ProcessStat(pid); ok {
				left = append(left, pid)
			}
		}
		return left, len(left) == 0
	})
}

func TestControlSocket(t *testing.T) {
	s := newSpec(t, false)
	path := filepath.Join(s.RunDir, wire.ControlSocket)
	testkit.Must(t, os.WriteFile(path, nil, 0o666)) // of an earlier start
	k := &keeper{spec: s, log: slog.New(slog.DiscardHandler)}
	defer unix.Umask(unix.Umask(0))
	f, err := k.listenControl()
	testkit.Must(t, err)
	defer f.Close()
	info, err := os.Stat(path)
	testkit.Must(t, err)
	if info.Mode() != os.ModeSocket|0o600 {
		t.Errorf("mode %v", info.Mode())
	}
	if umask := unix.Umask(0); umask != 0 {
		t.Errorf("umask %o", umask)
	}
}

// TestNotBegun: what keeps a seat from beginning is reported.
func TestNotBegun(t *testing.T) {
	for name, c := range map[string]struct {
		change func(*wire.Spec)
		has    string
	}{
		"user":        {func(s *wire.Spec) { s.User = "no-such-user" }, "no-such-user"},
		"stream host": {func(s *wire.Spec) { s.StreamHost = "/no/such/file" }, "/no/such/file"},
	} {
		t.Run(name, func(t *testing.T) {
			s := newSpec(t, false)
			c.change(&s)
			k := keep(t, s)
			if code := k.end(t); code != exitFailed {
				t.Errorf("exit status %d", code)
			}
			b, err := os.ReadFile(filepath.Join(s.RunDir, wire.ExitFile))
			if err != nil || !strings.Contains(string(b), c.has) || !strings.Contains(string(b), wire.CodeConfig) {
				t.Errorf("report %s, %v", b, err)
			}
		})
	}
}
