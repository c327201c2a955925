package cell

import (
	"context"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"sync"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/internal/wire"
)

// ErrEnded says that the cell has ended, with every process in it.
var ErrEnded = errors.New("the cell has ended")

// Client is the stream host's end of a cell. Its methods are safe for concurrent use.
type Client struct {
	made Made
	conn *Conn
	done chan struct{} // closed when the cell has ended

	mu       sync.Mutex
	next     int
	waiting  map[int]chan answer
	programs map[string]*Process
}

var _ Runner = (*Client)(nil)

type answer struct {
	Event
	files []*os.File
}

// NewClient uses the connection with a cell's first process.
func NewClient(made Made, conn *Conn) *Client {
	c := &Client{made: made, conn: conn, done: make(chan struct{}), waiting: map[int]chan answer{}, programs: map[string]*Process{}}
	go c.receive()
	return c
}

// Close ends the cell, and returns when it has ended.
func (c *Client) Close() error {
	err := c.conn.Close()
	<-c.done
	return err
}

// Done is closed when the cell has ended.
func (c *Client) Done() <-chan struct{} { return c.done }

// Init is the pid of the cell's first process.
func (c *Client) Init() int { return c.made.Init }

// Home is the app's home directory.
func (c *Client) Home() string { return c.made.Home }

// User is the name of the user that runs the programs; empty if it has none.
func (c *Client) User() string { return c.made.User }

// Runtime is a Runner's.
func (c *Client) Runtime() string { return c.made.Runtime }

// DisplayNumber is a Runner's: the cell's only display is :0. Without a cell the
// node may have others.
func (c *Client) DisplayNumber() int {
	if c.made.OwnRoot {
		return 0
	}
	return -1
}

func (c *Client) receive() {
	for {
		var e Event
		files, err := c.conn.Receive(&e)
		if err != nil {
			break
		}
		c.mu.Lock()
		waiting := c.waiting[e.ID]
		delete(c.waiting, e.ID)
		ended := c.programs[e.End]
		if e.End != "" {
			delete(c.programs, e.End)
		}
		c.mu.Unlock()
		if ended != nil {
			ended.result = Result{ExitCode: e.ExitCode, Signal: e.Signal}
			close(ended.done)
		}
		if waiting != nil {
			waiting <- answer{e, files}
			continue
		}
		closeAll(files)
	}
	c.conn.Close()
	c.mu.Lock()
	defer c.mu.Unlock()
	// The first process was killed, and with it all others.
	for name, p := range c.programs {
		p.result = Result{Signal: int(unix.SIGKILL)}
		close(p.done)
		delete(c.programs, name)
	}
	close(c.done)
}

// ask sends an order and waits until it is carried out.
func (c *Client) ask(ctx context.Context, o Order, files ...*os.File) (answer, error) {
	got := make(chan answer, 1)
	c.mu.Lock()
	select {
	case <-c.done:
		c.mu.Unlock()
		return answer{}, ErrEnded
	default:
	}
	c.next++
	o.ID = c.next
	c.waiting[o.ID] = got
	c.mu.Unlock()
	if err := c.conn.Send(o, files...); err != nil {
		c.mu.Lock()
		delete(c.waiting, o.ID)
		c.mu.Unlock()
		if errors.Is(err, unix.EPIPE) || errors.Is(err, net.ErrClosed) {
			return answer{}, ErrEnded
		}
		return answer{}, err
	}
	select {
	case a := <-got:
		if a.Error == "" {
			return a, nil
		}
		closeAll(a.files)
		if a.Code != "" {
			return answer{}, wire.End{Reason: wire.ReasonError, Code: a.Code, Detail: a.Error}
		}
		return answer{}, errors.New(a.Error)
	case <-c.done:
		return answer{}, ErrEnded
	case <-ctx.Done():
		return answer{}, ctx.Err()
	}
}

func closeAll(files []*os.File) {
	for _, f := range files {
		f.Close()
	}
}

// Start is a Runner's.
func (c *Client) Start(ctx context.Context, p Program, files ...*os.File) (*Process, error) {
	null, err := fillNull(files)
	if err != nil {
		return nil, err
	}
	if null != nil {
		defer null.Close()
	}
	process := &Process{done: make(chan struct{})}
	process.signal = func(sig int, group bool) error {
		_, err := c.order(Order{Op: OpSignal, Name: p.Name, Signal: sig, Group: group})
		if errors.Is(err, ErrEnded) {
			return nil
		}
		return err
	}
	c.mu.Lock()
	if c.programs[p.Name] != nil {
		c.mu.Unlock()
		return nil, fmt.Errorf("start %s: it runs already", p.Name)
	}
	// Before it starts: it may end before the answer is read.
	c.programs[p.Name] = process
	c.mu.Unlock()
	a, err := c.ask(ctx, Order{Op: OpStart, Program: &p}, files...)
	if err != nil {
		c.mu.Lock()
		delete(c.programs, p.Name)
		c.mu.Unlock()
		return nil, err
	}
	process.PID = a.PID
	if c.made.Isolated {
		process.PID = fromNamespace(c.made.Init, a.PID)
	}
	return process, nil
}

// Find reports whether the app's command can be started, as Start would say it. A
// program that is there and cannot be executed is not noticed.
func (c *Client) Find(ctx context.Context, p Program) error {
	_, err := c.ask(ctx, Order{Op: OpFind, Program: &p})
	return err
}

// fillNull puts /dev/null in the place of missing files.
func fillNull(files []*os.File) (null *os.File, err error) {
	for i, f := range files {
		if f != nil {
			continue
		}
		if null == nil {
			if null, err = os.OpenFile(os.DevNull, os.O_RDWR, 0); err != nil {
				return nil, err
			}
		}
		files[i] = null
	}
	return null, nil
}

// orderTimeout bounds orders that take no time: the first process may be stopped by
// an app that is not isolated.
const orderTimeout = 10 * time.Second

func (c *Client) order(o Order) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), orderTimeout)
	defer cancel()
	return c.ask(ctx, o)
}

// WriteFile is a Runner's.
func (c *Client) WriteFile(path string, content []byte) error {
	_, err := c.order(Order{Op: OpWrite, Path: path, Data: content})
	return err
}

// ParamsFile is where WriteParams puts its text, as the app sees it.
func (c *Client) ParamsFile() string { return filepath.Join(c.made.Runtime, ParamsFile) }

// WriteParams replaces the file with the session's parameters. An app that runs reads
// the former text or this one, whole.
func (c *Client) WriteParams(text []byte) error {
	_, err := c.order(Order{Op: OpParams, Path: c.ParamsFile(), Data: text})
	return err
}

// Dial is a Runner's.
func (c *Client) Dial(path string) (*net.UnixConn, error) {
	f, err := c.file(Order{Op: OpDial, Path: path})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	conn, err := net.FileConn(f)
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", path, err)
	}
	u, ok := conn.(*net.UnixConn)
	if !ok {
		conn.Close()
		return nil, fmt.Errorf("connect to %s: it is not a Unix socket", path)
	}
	return u, nil
}

// Remove is a Runner's.
func (c *Client) Remove(path string) error { return c.Link(path, "") }

// Open is a Runner's.
func (c *Client) Open(path string) (*os.File, error) {
	return c.file(Order{Op: OpOpen, Path: path})
}

// Listen makes a Unix socket to which the programs of the cell can connect.
func (c *Client) Listen(path string) (*net.UnixListener, error) {
	f, err := c.file(Order{Op: OpListen, Path: path})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen at %s: %w", path, err)
	}
	u, ok := l.(*net.UnixListener)
	if !ok {
		l.Close()
		return nil, fmt.Errorf("listen at %s: it is not a Unix socket", path)
	}
	return u, nil
}

// ListenLoopback makes a TCP socket on 127.0.0.1, as the programs of the cell see it, on a
// free port.
func (c *Client) ListenLoopback() (net.Listener, error) {
	f, err := c.file(Order{Op: OpListenLoopback, Path: "127.0.0.1"})
	if err != nil {
		return nil, err
	}
	defer f.Close()
	l, err := net.FileListener(f)
	if err != nil {
		return nil, fmt.Errorf("listen on the cell's loopback: %w", err)
	}
	return l, nil
}

// Link makes a symbolic link to a target, or with an empty target takes the link away,
// also while the app runs.
func (c *Client) Link(path, target string) error {
	_, err := c.order(Order{Op: OpLink, Path: path, Target: target})
	return err
}

func (c *Client) file(o Order) (*os.File, error) {
	a, err := c.order(o)
	if err != nil {
		return nil, err
	}
	if len(a.files) != 1 {
		closeAll(a.files)
		return nil, fmt.Errorf("%s %s: the cell answered with %d files", o.Op, o.Path, len(a.files))
	}
	return a.files[0], nil
}

// Freeze stops every process of the app: they keep their memory and use no
// processor time.
func (c *Client) Freeze() error { return c.plain(OpFreeze) }

// Thaw lets a frozen app run again.
func (c *Client) Thaw() error { return c.plain(OpThaw) }

// Kill ends every process of the app at once.
func (c *Client) Kill() error { return c.plain(OpKill) }

func (c *Client) plain(op string) error {
	_, err := c.order(Order{Op: op})
	return err
}

// CPU is the processor time of the app's living processes, including the children
// that they waited for. It is 0 after the cell has ended.
func (c *Client) CPU() time.Duration {
	a, err := c.order(Order{Op: OpCPU})
	if err != nil {
		return 0
	}
	return time.Duration(a.CPU)
}
