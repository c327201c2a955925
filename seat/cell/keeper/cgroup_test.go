package keeper

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/internet"
)

// TestCellCgroup: what the app can keep busy is in the cell's cgroup, and the keeper is not.
func TestCellCgroup(t *testing.T) {
	needRoot(t)
	dir := filepath.Join("/sys/fs/cgroup/cpu", fmt.Sprintf("nearcast-test-%d", os.Getpid()))
	if err := os.Mkdir(dir, 0o755); err != nil {
		t.Skip("no cgroups of version 1 with the controller cpu: ", err)
	}
	t.Cleanup(func() { testkit.Until(t, "the cgroup is empty", func() bool { return os.Remove(dir) == nil }) })
	s := newSpec(t, true)
	s.CellCgroup = dir
	if internet.Available() == nil {
		s.Network = wire.NetworkInternet
	}
	k := &keeper{spec: s, log: testkit.Logger(t), root: true}
	testkit.Must(t, k.identities())
	made, err := k.cellOf()
	defer k.endCell()
	testkit.Must(t, err)
	defer closeAll([]*os.File{made.stdout, made.stderr})
	conn, err := cell.NewConn(made.conn)
	testkit.Must(t, err)
	c := cell.NewClient(made.Made, conn)
	defer c.Close()
	// The app sees the pids of its cell, but the names of cgroups as the node has them.
	out, _ := run(t, c, cell.Program{Path: "/bin/cat", Args: []string{"cat", "/proc/self/cgroup"}, Dir: "/"})
	group := ":cpu:/" + filepath.Base(dir)
	if !strings.Contains(out, group+"\n") {
		t.Errorf("the app is in\n%s, want %s", out, group)
	}
	b, err := os.ReadFile(filepath.Join(dir, "cgroup.procs"))
	testkit.Must(t, err)
	has := " " + strings.Join(strings.Fields(string(b)), " ") + " "
	want := []int{made.Init}
	if k.network != nil {
		want = append(want, k.network.PID())
	}
	for _, pid := range want {
		if !strings.Contains(has, fmt.Sprintf(" %d ", pid)) {
			t.Errorf("process %d is not in the cgroup, which has%s", pid, has)
		}
	}
	if strings.Contains(has, fmt.Sprintf(" %d ", os.Getpid())) {
		t.Error("the keeper is in the cell's cgroup")
	}
}
