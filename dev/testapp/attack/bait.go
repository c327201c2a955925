package attack

import (
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"math"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"unsafe"

	"github.com/jezek/xgb"
	"github.com/jezek/xgb/xproto"
	"golang.org/x/sys/unix"
)

// RoleBait is the role of the segment that Bait makes.
const RoleBait = "the other seat's segment"

// baitProperty of the root window holds the secret.
const baitProperty = "NEARCAST_BAIT"

// Laid says what Bait has laid out, in the words of Args.
type Laid struct {
	Type string `json:"type"` // TypeBait
	Args Args   `json:"args"`
	// Files are all files that are to be removed.
	Files []string `json:"files"`
}

// Bait makes this app worth an attack: it keeps a secret everywhere where an app can
// keep one, until it ends. It writes a line that says where.
func Bait(tag, canary string, out io.Writer) error {
	l := Laid{Type: TypeBait}
	for _, lay := range []func(tag, canary string) error{
		l.sysv, l.posix, l.sockets, l.files, l.key, l.property, l.sound,
	} {
		if err := lay(tag, canary); err != nil {
			return fmt.Errorf("lay bait: %w", err)
		}
	}
	return json.NewEncoder(out).Encode(l)
}

func (l *Laid) sysv(_, canary string) error {
	const size = 12_288 + 4096
	id, err := unix.SysvShmGet(unix.IPC_PRIVATE, size, unix.IPC_CREAT|0o600)
	if err != nil {
		return fmt.Errorf("make segment: %w", err)
	}
	memory, err := unix.SysvShmAttach(id, 0, 0)
	if err != nil {
		return fmt.Errorf("attach segment: %w", err)
	}
	copy(memory, canary)
	l.Args.SharedMemory = []Segment{{Role: RoleBait, ID: id, Size: size}}

	q, _, errno := unix.Syscall(unix.SYS_MSGGET, unix.IPC_PRIVATE, unix.IPC_CREAT|0o600, 0)
	if errno != 0 {
		return fmt.Errorf("make queue: %w", errno)
	}
	var message struct {
		kind int64
		text [256]byte
	}
	message.kind = 1
	n := copy(message.text[:], canary)
	if _, _, errno = unix.Syscall6(unix.SYS_MSGSND, q, uintptr(unsafe.Pointer(&message)), uintptr(n), 0, 0, 0); errno != 0 {
		return fmt.Errorf("send: %w", errno)
	}
	l.Args.Queues = []int{int(q)}

	s, _, errno := unix.Syscall(unix.SYS_SEMGET, unix.IPC_PRIVATE, 1, unix.IPC_CREAT|0o600)
	if errno != 0 {
		return fmt.Errorf("make semaphore: %w", errno)
	}
	const setVal = 16
	if _, _, errno = unix.Syscall6(unix.SYS_SEMCTL, s, 0, setVal, semaphoreValue, 0, 0); errno != 0 {
		return fmt.Errorf("set semaphore: %w", errno)
	}
	l.Args.Semaphores = []int{int(s)}
	return nil
}

func (l *Laid) posix(tag, canary string) error {
	path := "/dev/shm/" + tag
	l.Args.PosixMemory = []string{path}
	q, err := openQueue("/"+tag, unix.O_CREAT|unix.O_RDWR)
	if err != nil {
		return fmt.Errorf("make queue: %w", err)
	}
	l.Args.PosixQueues = []string{"/" + tag} // it stays open, and there
	if err := sendQueue(q, []byte(canary)); err != nil {
		return fmt.Errorf("send: %w", err)
	}
	return l.file(path, canary)
}

func (l *Laid) file(path, canary string) error {
	l.Files = append(l.Files, path)
	return os.WriteFile(path, []byte(canary+"\n"), 0o600)
}

func (l *Laid) sockets(tag, canary string) error {
	for _, name := range []string{"/tmp/" + tag + ".sock", "@" + tag} {
		listener, err := net.Listen("unix", name)
		if err != nil {
			return err
		}
		l.Args.Sockets = append(l.Args.Sockets, name)
		if name[0] == '/' {
			l.Files = append(l.Files, name)
		}
		go Tell(listener, canary)
	}
	return nil
}

// Tell answers each connection with a secret, until the listener is closed.
func Tell(listener net.Listener, canary string) {
	for {
		conn, err := listener.Accept()
		if errors.Is(err, syscall.EMFILE) || errors.Is(err, syscall.ECONNABORTED) {
			continue
		}
		if err != nil {
			return
		}
		_, _ = io.WriteString(conn, canary+"\n")
		_ = conn.Close()
	}
}

func (l *Laid) files(tag, canary string) error {
	dir, err := os.Getwd()
	if err != nil {
		return err
	}
	for _, path := range []string{"/tmp/" + tag, "/var/tmp/" + tag} {
		l.Args.Temporary = append(l.Args.Temporary, path)
		if err := l.file(path, canary); err != nil {
			return err
		}
	}
	for _, path := range []string{filepath.Join(dir, tag), filepath.Join(home(), tag)} {
		l.Args.TaskDirs = append(l.Args.TaskDirs, path)
		if err := l.file(path, canary); err != nil {
			return err
		}
	}
	return nil
}

func home() string {
	if dir := os.Getenv("HOME"); dir != "" {
		return dir
	}
	return "/nonexistent"
}

// key keeps the secret in the keyring that all processes of a user share.
func (l *Laid) key(tag, canary string) error {
	id, err := unix.AddKey("user", tag, []byte(canary), unix.KEY_SPEC_USER_KEYRING)
	if err != nil {
		return nil // a cell may have no keyring at all
	}
	l.Args.Keys = []int{id}
	return nil
}

// property keeps the secret at the display, for as long as the connection.
func (l *Laid) property(_, canary string) error {
	if os.Getenv("DISPLAY") == "" {
		return nil
	}
	conn, err := xgb.NewConn()
	if err != nil {
		return fmt.Errorf("connect to the display: %w", err)
	}
	atom, err := xproto.InternAtom(conn, false, uint16(len(baitProperty)), baitProperty).Reply()
	if err != nil {
		return err
	}
	return xproto.ChangePropertyChecked(conn, xproto.PropModeReplace, xproto.Setup(conn).DefaultScreen(conn).Root,
		atom.Atom, xproto.AtomString, 8, uint32(len(canary)), []byte(canary)).Check()
}

// sound plays a tone of 440 Hz until the app ends.
func (l *Laid) sound(_, _ string) error {
	if soundSocket() == "" {
		return nil
	}
	cmd := exec.Command("pacat", "--playback", "--raw", "--format=s16le", "--rate=8000", "--channels=1", "--latency-msec=50")
	cmd.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return nil // pacat is not everywhere: the attack finds silence
	}
	go func() {
		defer cmd.Wait()
		var second []byte
		for i := range 8000 {
			second = binary.LittleEndian.AppendUint16(second, uint16(int16(12_000*math.Sin(2*math.Pi*440*float64(i)/8000))))
		}
		for {
			if _, err := in.Write(second); err != nil {
				return
			}
		}
	}()
	return nil
}
