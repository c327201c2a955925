package cell

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"os"
	"sync"

	"github.com/nearcast/nearcast/internal/wire"
)

// Keeper is the stream host's end of the connection with its keeper. Its methods are
// safe for concurrent use.
type Keeper struct {
	conn     *Conn
	requests sync.Mutex // one at a time
	answers  chan notice
	displays chan string
	spoilt   chan wire.End
}

type notice struct {
	Notice
	files []*os.File
}

// NewKeeper uses the connection with the keeper.
func NewKeeper(conn *Conn) *Keeper {
	k := &Keeper{conn: conn, answers: make(chan notice, 16), displays: make(chan string, 1), spoilt: make(chan wire.End, 1)}
	go k.receive()
	return k
}

func (k *Keeper) receive() {
	defer close(k.answers)
	for {
		var n Notice
		files, err := k.conn.Receive(&n)
		if err != nil {
			return
		}
		if n.Display != "" {
			closeAll(files)
			k.displays <- n.Display // once
			continue
		}
		if n.Spoilt != nil {
			closeAll(files)
			k.spoilt <- *n.Spoilt // once
			continue
		}
		k.answers <- notice{n, files}
	}
}

// ErrNoKeeper says that the keeper has ended. Then this process ends too.
var ErrNoKeeper = errors.New("the keeper has ended")

// ask makes a request. progress is called with the notices before the answer.
func (k *Keeper) ask(ctx context.Context, r Request, progress func(Notice)) (notice, error) {
	k.requests.Lock()
	defer k.requests.Unlock()
	if err := k.conn.Send(r); err != nil {
		return notice{}, fmt.Errorf("ask the keeper: %w", err)
	}
	for {
		select {
		case n, ok := <-k.answers:
			switch {
			case !ok:
				return n, ErrNoKeeper
			case n.Answer == "":
				if progress != nil {
					progress(n.Notice)
				}
			case n.Answer != r.Op: // late, to a request that was given up
				closeAll(n.files)
			case n.Failed != nil:
				return n, *n.Failed
			default:
				return n, nil
			}
		case <-ctx.Done():
			if r.Op == RequestContent {
				// While no other request can be made, which it would cancel. If it fails, the
				// keeper has ended, and the fetch with it.
				_ = k.conn.Send(Request{Op: RequestCancel})
			}
			return notice{}, ctx.Err()
		}
	}
}

// Content fetches the app's files. They stay in the node's cache while the keeper runs.
// When ctx ends, so does the fetch; what arrived stays in the cache too.
func (k *Keeper) Content(ctx context.Context, progress func(done, total int64, name string)) (io.Closer, error) {
	_, err := k.ask(ctx, Request{Op: RequestContent}, func(n Notice) { progress(n.Done, n.Total, n.File) })
	return io.NopCloser(nil), err
}

// ContentSpoilt gives the seat's end when files of the app may have wrong bytes.
func (k *Keeper) ContentSpoilt() <-chan wire.End { return k.spoilt }

// Cell makes the cell. stdout and stderr are for the app; they go to the task's log.
// gamepads are the connections of Made.GamepadFiles.
func (k *Keeper) Cell(ctx context.Context) (c *Client, made Made, stdout, stderr *os.File, gamepads []*net.UnixConn, err error) {
	n, err := k.ask(ctx, Request{Op: RequestCell}, nil)
	if err != nil {
		return nil, made, nil, nil, nil, err
	}
	if n.Cell == nil || len(n.files) != 3+len(n.Cell.GamepadFiles) {
		closeAll(n.files)
		return nil, made, nil, nil, nil, errors.New("the keeper gave no cell")
	}
	defer closeAll(n.files[3:])
	for _, f := range n.files[3:] {
		g, err := net.FileConn(f)
		u, ok := g.(*net.UnixConn)
		if err != nil || !ok {
			closeAll(n.files[:3])
			return nil, made, nil, nil, nil, fmt.Errorf("the keeper gave no gamepad: %w", err)
		}
		gamepads = append(gamepads, u)
	}
	conn, err := NewConn(n.files[0])
	if err != nil {
		closeAll(n.files[1:3])
		return nil, made, nil, nil, nil, err
	}
	return NewClient(*n.Cell, conn), *n.Cell, n.files[1], n.files[2], gamepads, nil
}

// Keys are the routers' public keys, as they are now.
func (k *Keeper) Keys(ctx context.Context) (*os.File, error) {
	n, err := k.ask(ctx, Request{Op: RequestKeys}, nil)
	if err != nil {
		return nil, err
	}
	if len(n.files) != 1 {
		closeAll(n.files)
		return nil, errors.New("the keeper gave no keys")
	}
	return n.files[0], nil
}

// Report says how the seat ended.
func (k *Keeper) Report(e wire.Exit) error {
	_, err := k.ask(context.Background(), Request{Op: RequestReport, Exit: &e}, nil)
	return err
}

// DisplayEnded gives the reason when a display server that the keeper runs has ended.
func (k *Keeper) DisplayEnded() <-chan string { return k.displays }
