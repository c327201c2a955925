package keeper

import (
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"sync/atomic"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellinit"
	"github.com/nearcast/nearcast/seat/cell/enter"
	"github.com/nearcast/nearcast/seat/cell/internet"
)

// program is this executable, where every user can reach it. It is seat-keeper, the
// stream host and the app of these tests.
var program string

const lookArg = "look"

func TestMain(m *testing.M) {
	if len(os.Args) > 1 {
		switch os.Args[1] {
		case cellinit.Arg:
			cellinit.Main()
		case internet.HelperArg:
			internet.HelperMain()
		case enter.Arg:
			os.Exit(enter.Run(os.Args[2:]))
		case "--spec":
			fetchEnd = time.Minute // the machine may be busy
			os.Exit(Run(os.Args[2]))
		case "--keeper":
			os.Exit(streamHost())
		case cell.FetchArg:
			os.Exit(fetchContent())
		case lookArg:
			look()
		}
	}
	dir, err := os.MkdirTemp("", "nc")
	if err == nil {
		program = filepath.Join(dir, "program")
		err = errors.Join(os.Chmod(dir, 0o755), copyFile("/proc/self/exe", program))
	}
	if err != nil {
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

func needRoot(t *testing.T) {
	t.Helper()
	if os.Geteuid() != 0 {
		t.Skip("to make a cell needs root")
	}
}

// modes runs a test in a cell, and without one.
func modes(t *testing.T, test func(t *testing.T, spec wire.Spec)) {
	for _, isolate := range []bool{false, true} {
		t.Run(fmt.Sprintf("isolate=%v", isolate), func(t *testing.T) {
			if isolate {
				needRoot(t)
			}
			test(t, newSpec(t, isolate))
		})
	}
}

var uids atomic.Int32

// newSpec is a seat in a directory of its own, with the directories that the driver and
// Nomad make: run/seat, cache, alloc/ID/task, alloc/ID/alloc.
func newSpec(t *testing.T, isolate bool) wire.Spec {
	t.Helper()
	base := testkit.ShortDir(t)
	task := filepath.Join(base, "alloc", "ID", "task")
	for _, dir := range []string{"cache", "run/seat", "alloc/ID/task/local", "alloc/ID/alloc/logs", "alloc/ID/alloc/data", "alloc/other/task"} {
		testkit.Must(t, os.MkdirAll(filepath.Join(base, dir), 0o755))
	}
	s := wire.Spec{
		Nonce: "nonce", Alloc: "ID", Task: "task", App: "app",
		RunDir: filepath.Join(base, "run/seat"), TaskDir: task, SharedDir: filepath.Join(base, "alloc", "ID", "alloc"),
		Command: program, Isolate: isolate, Network: wire.NetworkNone,
		StreamHost: program, SeatKeeper: program, TicketKeys: filepath.Join(base, "keys"),
		Cell:  wire.Cell{WritableBytes: 16 << 20, MaxProcesses: 200},
		Cache: wire.Cache{Dir: filepath.Join(base, "cache")},
	}
	if os.Geteuid() == 0 {
		uid := 1_710_000_000 + os.Getpid()%100_000*100 + int(uids.Add(2))%100
		s.User, s.HostUser = fmt.Sprintf("%d:%d", uid, uid), fmt.Sprintf("%d:%d", uid+1, uid+1)
	}
	return s
}

// makeCell makes the cell of a spec, and ends it with the test.
func makeCell(t *testing.T, s wire.Spec) (*cell.Client, error) {
	t.Helper()
	_, c, err := keepCell(t, s)
	return c, err
}

// keepCell is makeCell with the keeper of that cell.
func keepCell(t *testing.T, s wire.Spec) (*keeper, *cell.Client, error) {
	t.Helper()
	k := &keeper{spec: s, log: testkit.Logger(t), root: os.Geteuid() == 0}
	testkit.Must(t, k.identities())
	made, err := k.cellOf()
	t.Cleanup(k.endCell)
	if err != nil {
		return nil, nil, err
	}
	made.stdout.Close()
	made.stderr.Close()
	conn, err := cell.NewConn(made.conn)
	testkit.Must(t, err)
	c := cell.NewClient(made.Made, conn)
	t.Cleanup(func() { c.Close() })
	return k, c, nil
}

// run runs the app to its end, and returns what it printed.
func run(t *testing.T, c *cell.Client, p cell.Program) (out string, result cell.Result) {
	t.Helper()
	r, w, err := os.Pipe()
	testkit.Must(t, err)
	defer r.Close()
	p.Name = cell.App
	process, err := c.Start(testkit.Context(t, time.Minute), p, nil, w, w)
	w.Close()
	testkit.Must(t, err)
	r.SetReadDeadline(time.Now().Add(time.Minute))
	b, err := io.ReadAll(r)
	testkit.Must(t, err)
	return string(b), process.Result()
}
