package keeper

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"syscall"
	"time"

	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellinit"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
)

// cellResult is a cell that was made, or why not. conn is for the stream host.
type cellResult struct {
	cell.Made
	conn           *os.File
	stdout, stderr *os.File // of the app
	gamepads       []*os.File
	err            error
}

// cellProcess is the first process of a cell.
type cellProcess struct {
	*child
	scratch string // without a cell: the directory of the seat's programs
}

// makeCell makes the cell and sends the result to k.made.
func (k *keeper) makeCell() {
	made, err := k.cellOf()
	if err != nil {
		made = cellResult{err: err}
	}
	k.made <- made
}

func (k *keeper) cellOf() (made cellResult, err error) {
	s := cellinit.Spec{Identity: k.app, Drop: k.root, UserNamespaces: k.spec.Cell.UserNamespaces, I386: k.spec.Cell.I386}
	chosen, err := k.chooseDisplay()
	if err != nil {
		return made, err
	}
	xorg := chosen.Server == wire.ServerXorg
	devices := k.devices(xorg)
	if k.root {
		s.Identity = s.Identity.WithGroups(deviceGroups(s.Identity, devices, k.log)...)
	}
	process := &cellProcess{}
	ownRoot := k.spec.Isolate && !cell.Without("root")
	made.Isolated, made.OwnRoot = k.spec.Isolate && !cell.Without("pid"), ownRoot
	flags := uintptr(0)
	if ownRoot {
		s.Root = k.cellRoot(devices)
		s.Root.Closed = len(k.spec.Content) > 0 && k.spec.CellFirst()
		if xorg {
			if err := k.makeDisplayDir(); err != nil {
				return made, err
			}
			s.Root.DisplayDir = k.displayDir()
		}
		if err := k.addGamepads(s.Root, &made); err != nil {
			return made, err
		}
		if s.Root.Tool = k.tool(); s.Root.Tool != "" {
			made.Tools = cellroot.ToolsDir
		}
		made.User = cellroot.User
		made.Home, made.Runtime = cellroot.Home(), cellroot.Runtime(k.app.UID)
	} else {
		if process.scratch, err = k.makeScratch(); err != nil {
			return made, err
		}
		if tool := k.tool(); tool != "" {
			made.Tools = filepath.Dir(tool)
		}
		made.User = k.app.Name
		made.Home, made.Runtime = filepath.Join(process.scratch, "home"), filepath.Join(process.scratch, "run")
	}
	if k.spec.Isolate {
		s.OwnPids = made.Isolated
		s.Loopback = k.spec.Network != wire.NetworkHost && !cell.Without("net")
		if !cell.Without("pids") {
			s.MaxProcesses = uint64(k.spec.Cell.MaxProcesses)
		}
		flags = namespaces(s.Loopback)
	}
	if k.spec.CellCgroup != "" {
		s.AppNice = appNice
	}
	k.cell = process
	conn, theirs, err := cell.Pair()
	if err != nil {
		return made, err
	}
	defer conn.Close()
	defer theirs.Close()
	spec, err := s.File()
	if err != nil {
		return made, err
	}
	defer spec.Close()
	cmd := exec.Command(self, cellinit.Arg)
	cmd.Args[0] = "seat-keeper"
	cmd.Dir = "/"
	cmd.Env = append(nonce(os.Environ()), cell.WithoutEnviron()...) // programs of the cell could read more
	cmd.Stderr = os.Stderr
	cmd.ExtraFiles = []*os.File{theirs, spec} // cellinit.ConnFD, SpecFD
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: true, Cloneflags: flags}
	if k.spec.Isolate {
		// The first process also notices the end of its connection, but this cannot
		// fail. Without a cell, it would end before it could end the others.
		cmd.SysProcAttr.Pdeathsig = syscall.SIGKILL
	}
	if process.child, err = start(cmd, func() error { return nil }); err != nil {
		return made, fmt.Errorf("start the cell: %w", err)
	}
	theirs.Close()
	if err := k.place(process.pid); err != nil {
		return made, err
	}
	if s.Root != nil && s.Root.Closed {
		files, err := heardOf(conn)
		if err == nil {
			k.closed, err = closedTask(files)
		}
		if err != nil {
			return made, err
		}
	}
	files, err := heardOf(conn)
	closeAll(files)
	if err != nil {
		return made, err
	}
	made.Init = process.pid
	if k.spec.Isolate && k.spec.Network == wire.NetworkInternet {
		if err := k.connect(process.pid); err != nil {
			return made, err
		}
	}
	if xorg {
		if made.Display, err = k.startXorg(chosen, process.pid); err != nil {
			return made, err
		}
	}
	if made.stdout, err = openOutput(k.spec.Stdout); err != nil {
		return made, failed(wire.CodeConfig, "%w", err)
	}
	if made.stderr, err = openOutput(k.spec.Stderr); err != nil {
		return made, failed(wire.CodeConfig, "%w", err)
	}
	made.conn, err = conn.File()
	return made, err
}

// heardOf receives the next word of a cell's first process while that makes the cell.
func heardOf(conn *cell.Conn) ([]*os.File, error) {
	var e cell.Event
	files, err := conn.Receive(&e)
	switch {
	case err != nil:
		return nil, fmt.Errorf("make the cell: its first process ended: %w", err)
	case e.Error != "" && e.Code != "":
		err = failed(e.Code, "%s", e.Error)
	case e.Error != "":
		err = fmt.Errorf("make the cell: %s", e.Error)
	}
	if err != nil {
		closeAll(files)
		return nil, err
	}
	return files, nil
}

// namespaces are the clone flags of a cell.
func namespaces(network bool) (flags uintptr) {
	flags = syscall.CLONE_NEWNS
	for _, ns := range []struct {
		name string
		flag uintptr
	}{{"pid", syscall.CLONE_NEWPID}, {"ipc", syscall.CLONE_NEWIPC}, {"uts", syscall.CLONE_NEWUTS}} {
		if !cell.Without(ns.name) {
			flags |= ns.flag
		}
	}
	if network {
		flags |= syscall.CLONE_NEWNET
	}
	return flags
}

// cellRoot is the file system of the cell.
func (k *keeper) cellRoot(devices []string) *cellroot.Root {
	hide := []string{filepath.Dir(k.spec.RunDir)}
	if k.spec.Cache.Dir != "" {
		hide = append(hide, k.spec.Cache.Dir)
	}
	// The directories of other allocations.
	for dir := k.spec.TaskDir; dir != "/" && dir != "."; dir = filepath.Dir(dir) {
		if k.spec.Alloc != "" && filepath.Base(dir) == k.spec.Alloc {
			hide = append(hide, filepath.Dir(dir))
		}
	}
	return &cellroot.Root{
		Base: k.spec.RunDir, ReadOnly: slices.Concat(cellroot.NodePaths, k.spec.Cell.Paths), Hide: hide,
		TaskDir: k.spec.TaskDir, SharedDir: k.spec.SharedDir, Mounts: k.spec.Mounts, Command: k.spec.Command,
		Devices: devices, Writable: k.writable(),
		HostNetwork: k.spec.Network == wire.NetworkHost,
		ResolvConf:  k.resolvConf(),
	}
}

// tool is the command of this build with which scripts exchange messages; empty is none.
func (k *keeper) tool() string {
	path := filepath.Join(filepath.Dir(k.spec.StreamHost), wire.AppTool)
	if info, err := os.Stat(path); err != nil || !info.Mode().IsRegular() || info.Mode().Perm()&0o001 == 0 {
		k.log.Warn("the seat has no nearcast-app: the file is missing, or not all users can execute it", "file", path, "error", err)
		return ""
	}
	return path
}

// writable is how much the programs of the cell can write.
func (k *keeper) writable() int64 {
	if cell.Without("size") {
		return 1 << 40
	}
	return k.spec.Cell.WritableBytes
}

// makeScratch makes the directory for sockets, cookies and home of a seat without a
// cell. A link in the run directory points to it, so that the driver can remove it
// where this process is killed.
func (k *keeper) makeScratch() (path string, err error) {
	link := filepath.Join(k.spec.RunDir, wire.ScratchLink)
	if path, err = os.MkdirTemp("", ".nearcast-"); err != nil {
		return "", fmt.Errorf("make the seat's directory: %w", err)
	}
	err = os.Symlink(path, link)
	for _, dir := range []string{path, filepath.Join(path, "home"), filepath.Join(path, "run")} {
		if err == nil && dir != path {
			err = os.Mkdir(dir, 0o700)
		}
		if err == nil && k.root {
			err = os.Lchown(dir, k.app.UID, k.app.GID)
		}
	}
	if err != nil {
		return "", errors.Join(fmt.Errorf("make the seat's directory: %w", err), os.RemoveAll(path))
	}
	return path, nil
}

// endCell ends every process of the cell and removes what it left on the node.
func (k *keeper) endCell() {
	c := k.cell
	if c == nil {
		return
	}
	if c.child != nil {
		k.closeMade()
		// Its connection is closed, so it ends by itself. Only the kernel can end a
		// cell whose first process is stuck.
		if k.spec.Isolate {
			c.kill()
		}
		c.signal(syscall.SIGCONT) // without a cell, an app can stop it
		late := time.AfterFunc(endTimeout, c.kill)
		<-c.done
		late.Stop()
	}
	if k.display != nil {
		k.display.Close()
	}
	if k.network != nil {
		k.network.Close()
	}
	for _, d := range k.pads {
		d.Close()
	}
	if k.closed != nil {
		k.closed.Close()
	}
	os.RemoveAll(k.displayDir())
	for _, dir := range []string{"root", "scratch"} {
		os.Remove(filepath.Join(k.spec.RunDir, dir)) // empty mount points
	}
	if c.scratch != "" {
		if err := os.RemoveAll(c.scratch); err != nil {
			k.log.Warn("remove the seat's directory", "error", err)
		}
		os.Remove(filepath.Join(k.spec.RunDir, wire.ScratchLink))
	}
}

// endTimeout is how long the first process may take to end the others, where there is
// no cell.
const endTimeout = 10 * time.Second

// closeMade closes a cell's connection and files that no stream host asked for: the
// first process ends with the last copy of its connection.
func (k *keeper) closeMade() {
	select {
	case made := <-k.made:
		for _, f := range append([]*os.File{made.conn, made.stdout, made.stderr}, made.gamepads...) {
			f.Close() // an error for a nil file
		}
	default:
	}
}

// nonceEnv marks every process of a seat.
const nonceEnv = "NEARCAST_NONCE"

func nonce(env []string) []string {
	for _, kv := range env {
		if len(kv) > len(nonceEnv) && kv[:len(nonceEnv)+1] == nonceEnv+"=" {
			return []string{kv}
		}
	}
	return []string{}
}

func (k *keeper) specPath() string { return filepath.Join(k.spec.RunDir, wire.SpecFile) }
