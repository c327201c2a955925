// Package netns makes network namespaces and acts inside them.
//
// A namespace is mounted on a file that the caller chooses. Any later process can find,
// enter and remove it there:
//
//	ns, err := netns.Create(".nearcast/netns/tokyo")
//	defer netns.Remove(ns.Path())
//	defer ns.Close()
//	err = ns.Do(func() error { return cmd.Start() })
//	conn, err := ns.Dial(ctx, "tcp", "198.18.5.10:7700")
//
// A new namespace has its loopback up and IPv6 off, and reaches nothing else. All of
// this needs root.
package netns

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"runtime"

	"golang.org/x/sys/unix"
)

// NS is a handle on a network namespace.
type NS struct {
	path string
	file *os.File
}

// own is the namespace of the calling thread; other threads may be in others.
const own = "/proc/thread-self/ns/net"

// Supported returns why network namespaces do not work here, or nil.
func Supported() error {
	if os.Geteuid() != 0 {
		return errors.New("only root can make network namespaces")
	}
	if _, err := os.Stat(own); err != nil {
		return fmt.Errorf("this kernel has no network namespaces: %w", err)
	}
	return nil
}

// Create makes a namespace and mounts it on a new file.
func Create(path string) (_ *NS, err error) {
	if err := Supported(); err != nil {
		return nil, err
	}
	if path, err = filepath.Abs(path); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_CREATE|os.O_EXCL|os.O_RDONLY, 0o444)
	if err != nil {
		return nil, fmt.Errorf("make network namespace: %w", err)
	}
	f.Close()
	defer func() {
		if err != nil {
			err = errors.Join(fmt.Errorf("make network namespace: %w", err), Remove(path))
		}
	}()
	err = onThread(func() error {
		if err := unix.Unshare(unix.CLONE_NEWNET); err != nil {
			return fmt.Errorf("unshare: %w", err)
		}
		if err := unix.Mount(own, path, "", unix.MS_BIND, ""); err != nil {
			return fmt.Errorf("mount on %s: %w", path, err)
		}
		return errors.Join(noIPv6(), bringUp("lo"))
	})
	if err != nil {
		return nil, err
	}
	return Open(path)
}

// Open is a handle on the namespace that is mounted on path.
func Open(path string) (*NS, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("open network namespace: %w", err)
	}
	return &NS{path: path, file: f}, nil
}

// Remove removes the file of a namespace. The namespace itself ends with its last
// process and handle.
func Remove(path string) error {
	// EINVAL: nothing is mounted there.
	if err := unix.Unmount(path, unix.MNT_DETACH); err != nil && !errors.Is(err, unix.EINVAL) && !errors.Is(err, unix.ENOENT) {
		return fmt.Errorf("unmount network namespace %s: %w", path, err)
	}
	if err := os.Remove(path); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return fmt.Errorf("remove network namespace: %w", err)
	}
	return nil
}

// Path is the file of the namespace.
func (n *NS) Path() string { return n.path }

// Close closes the handle. The namespace stays.
func (n *NS) Close() error { return n.file.Close() }

// Enter moves the calling thread into the namespace for good; the caller must have
// locked it. It is for a process that replaces itself by another program.
func (n *NS) Enter() error {
	if err := unix.Setns(int(n.file.Fd()), unix.CLONE_NEWNET); err != nil {
		return fmt.Errorf("enter network namespace %s: %w", n.path, err)
	}
	return nil
}

// Do runs f on the calling goroutine, inside the namespace. Sockets and processes that
// f makes stay inside. Goroutines that f starts are not inside. On a nil NS it only runs f.
func (n *NS) Do(f func() error) error {
	if n == nil {
		return f()
	}
	return onThread(func() error {
		if err := n.Enter(); err != nil {
			return err
		}
		return f()
	})
}

// onThread runs f on a locked thread, and then moves the thread back to its namespace.
func onThread(f func() error) error {
	runtime.LockOSThread()
	home, err := os.Open(own)
	if err != nil {
		runtime.UnlockOSThread()
		return fmt.Errorf("open this thread's network namespace: %w", err)
	}
	defer home.Close()
	err = f()
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		// The thread is lost: it stays locked, and ends with its goroutine.
		return errors.Join(err, fmt.Errorf("leave network namespace: %w", back))
	}
	runtime.UnlockOSThread()
	return err
}

// Dial connects from inside the namespace. The address must be an IP address: names
// are not looked up there.
func (n *NS) Dial(ctx context.Context, network, address string) (conn net.Conn, err error) {
	err = n.Do(func() error {
		conn, err = new(net.Dialer).DialContext(ctx, network, address)
		return err
	})
	return conn, err
}

// Listen listens inside the namespace.
func (n *NS) Listen(ctx context.Context, network, address string) (l net.Listener, err error) {
	err = n.Do(func() error {
		l, err = new(net.ListenConfig).Listen(ctx, network, address)
		return err
	})
	return l, err
}

// ListenPacket listens for datagrams inside the namespace.
func (n *NS) ListenPacket(ctx context.Context, network, address string) (c net.PacketConn, err error) {
	err = n.Do(func() error {
		c, err = new(net.ListenConfig).ListenPacket(ctx, network, address)
		return err
	})
	return c, err
}

// Transport makes connections from inside the namespace. It keeps none open.
func (n *NS) Transport() *http.Transport {
	return &http.Transport{DialContext: n.Dial, DisableKeepAlives: true}
}
