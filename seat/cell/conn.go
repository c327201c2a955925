package cell

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"golang.org/x/sys/unix"
)

// Conn carries messages between two processes of a seat, each one JSON object
// with the files that belong to it. The peer may be hostile: a message has at most
// maxMessage bytes and maxFiles files.
type Conn struct {
	conn  *net.UnixConn
	write sync.Mutex
	buf   []byte // of Receive
}

const (
	// maxPacket is what a socket takes in one packet with any settings of the node.
	maxPacket  = 32 << 10
	maxMessage = 8 << 20
	maxFiles   = 16
)

// long announces a message that is too large for a packet. The message is in the
// memory file that comes with it, before the message's own files.
type long struct {
	Long int `json:"long"`
}

// Pair makes a connection. The other process inherits theirs.
func Pair() (ours *Conn, theirs *os.File, err error) {
	fds, err := unix.Socketpair(unix.AF_UNIX, unix.SOCK_SEQPACKET|unix.SOCK_CLOEXEC, 0)
	if err != nil {
		return nil, nil, fmt.Errorf("make connection: %w", err)
	}
	theirs = os.NewFile(uintptr(fds[1]), "cell")
	ours, err = NewConn(os.NewFile(uintptr(fds[0]), "cell"))
	if err != nil {
		theirs.Close()
		return nil, nil, err
	}
	return ours, theirs, nil
}

// NewConn is the connection of a file that this process inherited or received. It
// closes the file.
func NewConn(f *os.File) (*Conn, error) {
	defer f.Close()
	c, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("use connection: %w", err)
	}
	u, ok := c.(*net.UnixConn)
	if !ok {
		c.Close()
		return nil, errors.New("use connection: it is not a Unix socket")
	}
	return &Conn{conn: u, buf: make([]byte, maxPacket)}, nil
}

// Close ends the connection. A Receive that waits returns.
func (c *Conn) Close() error { return c.conn.Close() }

// File duplicates the connection's descriptor, for another process.
func (c *Conn) File() (*os.File, error) { return c.conn.File() }

// Send sends a message and copies of the files.
func (c *Conn) Send(message any, files ...*os.File) error {
	b, err := json.Marshal(message)
	if err != nil {
		return fmt.Errorf("encode message: %w", err)
	}
	if len(b) > maxMessage || len(files) > maxFiles {
		return fmt.Errorf("send message: %d bytes with %d files are more than %d and %d", len(b), len(files), maxMessage, maxFiles)
	}
	if len(b) > maxPacket {
		memory, err := MemoryFile("message", b)
		if err != nil {
			return err
		}
		defer memory.Close()
		files = append([]*os.File{memory}, files...)
		if b, err = json.Marshal(long{len(b)}); err != nil {
			return fmt.Errorf("encode message: %w", err)
		}
	}
	var rights []byte
	if len(files) > 0 {
		fds := make([]int, len(files))
		for i, f := range files {
			fds[i] = int(f.Fd())
		}
		rights = unix.UnixRights(fds...)
	}
	c.write.Lock()
	defer c.write.Unlock()
	if _, _, err := c.conn.WriteMsgUnix(b, rights, nil); err != nil {
		return fmt.Errorf("send message: %w", err)
	}
	return nil
}

// Receive waits for the next message. It returns io.EOF when the other process has
// closed the connection or ended. One goroutine at a time may receive.
func (c *Conn) Receive(message any) (files []*os.File, err error) {
	rights := make([]byte, unix.CmsgSpace(4*(maxFiles+1)))
	n, rn, flags, _, err := c.conn.ReadMsgUnix(c.buf, rights)
	if err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, unix.ECONNRESET) || errors.Is(err, net.ErrClosed) {
			err = io.EOF
		}
		return nil, err
	}
	files, err = received(rights[:rn])
	defer func() {
		if err != nil {
			for _, f := range files {
				f.Close()
			}
			files = nil
		}
	}()
	if err != nil {
		return files, err
	}
	if n == 0 {
		return files, io.EOF
	}
	if flags&(unix.MSG_TRUNC|unix.MSG_CTRUNC) != 0 {
		return files, errors.New("receive message: it is too large")
	}
	b := c.buf[:n]
	var l long
	isLong := json.Unmarshal(b, &l) == nil && l.Long > 0
	if !isLong && len(files) > maxFiles {
		return files, errors.New("receive message: it has too many files")
	}
	if isLong {
		if len(files) == 0 || l.Long > maxMessage {
			return files, errors.New("receive message: its long form is wrong")
		}
		memory := files[0]
		files = files[1:]
		defer memory.Close()
		b = make([]byte, l.Long)
		if _, err := memory.ReadAt(b, 0); err != nil {
			return files, fmt.Errorf("receive message: %w", err)
		}
	}
	if err := json.Unmarshal(b, message); err != nil {
		return files, fmt.Errorf("receive message: %w", err)
	}
	return files, nil
}

// received are the files that came with a message. They close on exec: the library
// asks the kernel for that.
func received(rights []byte) (files []*os.File, err error) {
	if len(rights) == 0 {
		return nil, nil
	}
	list, err := unix.ParseSocketControlMessage(rights)
	if err != nil {
		return nil, fmt.Errorf("receive files: %w", err)
	}
	for _, m := range list {
		fds, err := unix.ParseUnixRights(&m)
		if err != nil {
			return files, fmt.Errorf("receive files: %w", err)
		}
		for _, fd := range fds {
			files = append(files, os.NewFile(uintptr(fd), "received"))
		}
	}
	return files, nil
}

// MemoryFile makes a file that is in no file system, with this content, which
// nobody can change any more.
func MemoryFile(name string, content []byte) (*os.File, error) {
	fd, err := unix.MemfdCreate(name, unix.MFD_CLOEXEC|unix.MFD_ALLOW_SEALING)
	if err != nil {
		return nil, fmt.Errorf("make memory file: %w", err)
	}
	f := os.NewFile(uintptr(fd), name)
	if _, err = f.WriteAt(content, 0); err == nil {
		_, err = unix.FcntlInt(f.Fd(), unix.F_ADD_SEALS, unix.F_SEAL_SEAL|unix.F_SEAL_SHRINK|unix.F_SEAL_GROW|unix.F_SEAL_WRITE)
	}
	if err != nil {
		f.Close()
		return nil, fmt.Errorf("write memory file: %w", err)
	}
	return f, nil
}
