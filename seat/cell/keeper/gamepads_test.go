package keeper

import (
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/testkit"
	"github.com/nearcast/nearcast/internal/wire"
	"github.com/nearcast/nearcast/seat/cell"
	"github.com/nearcast/nearcast/seat/cell/cellroot"
	"github.com/nearcast/nearcast/seat/cell/evdev"
	"github.com/nearcast/nearcast/seat/cell/uinput"
)

// TestGamepads: where the library is beside the stream host, a cell has it, and a
// directory for gamepads. Else, and where the job wants none, it has neither.
func TestGamepads(t *testing.T) {
	needRoot(t)
	// The directory is closed to other users, as root's home is.
	dir := testkit.ShortDir(t)
	testkit.Must(t, os.Chmod(dir, 0o700))
	write(t, filepath.Join(dir, "nearcast-gamepad.so"), "the library\n")
	const look = `cat /run/nearcast-gamepad.so; : > /dev/input/event100 && echo made; (: >> /run/nearcast-gamepad.so) && echo changed; ls /dev/input`
	for name, c := range map[string]struct {
		host   string
		wanted bool
		mode   os.FileMode
		want   string
	}{
		"there":                  {filepath.Join(dir, "stream-host"), true, 0o644, "the library made event100"},
		"the job wants none":     {filepath.Join(dir, "stream-host"), false, 0o644, ""},
		"the library is missing": {program, true, 0o644, ""},
		"no user can read it":    {filepath.Join(dir, "stream-host"), true, 0o600, ""},
	} {
		t.Run(name, func(t *testing.T) {
			testkit.Must(t, os.Chmod(filepath.Join(dir, "nearcast-gamepad.so"), c.mode))
			s := newSpec(t, true)
			s.StreamHost, s.Display.Gamepads = c.host, c.wanted
			cl, err := makeCell(t, s)
			testkit.Must(t, err)
			out, _ := run(t, cl, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", "exec 2>/dev/null; " + look}, Dir: "/"})
			if got := strings.Join(strings.Fields(out), " "); got != c.want {
				t.Errorf("the app finds %q, want %q", got, c.want)
			}
		})
	}
}

// fakeKernel stands in for /dev/uinput, which no machine of the project has.
type fakeKernel struct {
	got  chan []byte
	gone chan struct{}
	once *sync.Once
}

func (k fakeKernel) Ioctl(uint, int, []byte) error { return nil }
func (k fakeKernel) Close() error                  { k.once.Do(func() { close(k.gone) }); return nil }
func (k fakeKernel) Read([]byte) (int, error)      { <-k.gone; return 0, os.ErrClosed }
func (k fakeKernel) Write(b []byte) (int, error) {
	k.got <- slices.Clone(b)
	return len(b), nil
}

// TestGamepadFiles: where the operator wants gamepads of the kernel, the cell has device
// files of its own, those of /dev/null and /dev/zero here, and the stream host connections
// with the devices, which go with the cell.
func TestGamepadFiles(t *testing.T) {
	needRoot(t)
	made(t, t.TempDir(), map[string]uint32{"null": 0o600}, 0) // or skip
	s := newSpec(t, true)
	s.Display.Gamepads, s.Cell.Uinput = true, true
	kernel := fakeKernel{make(chan []byte, 9), make(chan struct{}), new(sync.Once)}
	k := &keeper{spec: s, log: testkit.Logger(t), root: true, makePad: func(i int) (*uinput.Device, error) {
		return &uinput.Device{Number: unix.Mkdev(1, []uint32{3, 5, 3, 3}[i]), Kernel: kernel}, nil
	}}
	testkit.Must(t, k.identities())
	made, err := k.cellOf()
	t.Cleanup(k.endCell)
	testkit.Must(t, err)
	made.stdout.Close()
	made.stderr.Close()
	conn, err := cell.NewConn(made.conn)
	testkit.Must(t, err)
	c := cell.NewClient(made.Made, conn)
	t.Cleanup(func() { c.Close() })
	if made.Gamepads != "" || len(made.GamepadFiles) != wire.MaxPads || len(made.gamepads) != wire.MaxPads {
		t.Fatalf("made is %+v with %d connections", made.Made, len(made.gamepads))
	}
	e := evdev.Event{Kind: evdev.Key, Code: 0x130, Value: 1}.Append(nil)
	_, err = made.gamepads[2].Write(e)
	testkit.Must(t, err)
	if got := <-kernel.got; string(got) != string(e) {
		t.Errorf("the kernel gets %x", got)
	}
	look := `exec 2>&1; ls -A /dev/input; : <> ` + made.GamepadFiles[0] + ` && echo null; [ "$(head -c 3 ` + made.GamepadFiles[1] + ` | tr '\0' z)" = zzz ] && echo zero
		ln -s .gamepad1 /dev/input/event101 && echo link; mknod /dev/input/made c 1 3 || echo none; head -c 99999 /dev/zero > /dev/input/big || echo full`
	out, _ := run(t, c, cell.Program{Path: "/bin/sh", Args: []string{"sh", "-c", look}, Dir: "/"})
	for _, want := range []string{".gamepad0\n.gamepad1\n.gamepad2\n.gamepad3\n", "\nnull\n", "\nzero\n", "\nlink\n", "\nnone\n", "\nfull\n"} {
		if !strings.Contains(out, want) {
			t.Errorf("%q is missing in %q", want, out)
		}
	}
	for _, f := range made.gamepads {
		f.Close()
	}
	<-kernel.gone
}

// Where the node has no uinput, or less than all gamepads can be made, the library is used.
func TestGamepadFilesFail(t *testing.T) {
	s := newSpec(t, true)
	dir := testkit.ShortDir(t)
	write(t, filepath.Join(dir, wire.GamepadLibrary), "")
	s.Display.Gamepads, s.Cell.Uinput, s.StreamHost = true, true, filepath.Join(dir, "stream-host")
	kernel := fakeKernel{make(chan []byte, 9), make(chan struct{}), new(sync.Once)}
	k := &keeper{spec: s, log: testkit.Logger(t), makePad: func(i int) (*uinput.Device, error) {
		if i == 2 {
			return nil, os.ErrNotExist
		}
		return &uinput.Device{Kernel: kernel}, nil
	}}
	var root cellroot.Root
	var made cellResult
	testkit.Must(t, k.addGamepads(&root, &made))
	<-kernel.gone // what was made is taken away
	if made.Gamepads == "" || root.Gamepads == "" || len(k.pads)+len(made.gamepads)+len(root.GamepadNumbers) > 0 {
		t.Errorf("made is %+v", made)
	}
}
