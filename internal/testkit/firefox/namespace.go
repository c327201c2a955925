package firefox

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"runtime"

	"golang.org/x/sys/unix"
)

// clientIn is a client whose sockets are in a network namespace: Firefox listens on its loopback.
func clientIn(namespace string) *http.Client {
	if namespace == "" {
		return http.DefaultClient
	}
	return &http.Client{Transport: &http.Transport{DialContext: func(ctx context.Context, network, address string) (net.Conn, error) {
		var conn net.Conn
		err := inNamespace(namespace, func() (err error) {
			conn, err = new(net.Dialer).DialContext(ctx, network, address) // in this thread: the address is an IP
			return err
		})
		return conn, err
	}}}
}

// inNamespace does something in a network namespace.
func inNamespace(path string, do func() error) error {
	there, err := os.Open(path)
	if err != nil {
		return fmt.Errorf("open the namespace: %w", err)
	}
	defer there.Close()
	runtime.LockOSThread()
	home, err := os.Open("/proc/thread-self/ns/net")
	if err != nil {
		return err // the thread stays locked, and ends with its goroutine
	}
	defer home.Close()
	if err = unix.Setns(int(there.Fd()), unix.CLONE_NEWNET); err == nil {
		err = do()
	}
	if back := unix.Setns(int(home.Fd()), unix.CLONE_NEWNET); back != nil {
		return errors.Join(err, back)
	}
	runtime.UnlockOSThread()
	return err
}
