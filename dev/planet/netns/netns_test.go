package netns

import (
	"bytes"
	"errors"
	"net"
	"net/netip"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"
)

func create(t *testing.T) *NS {
	t.Helper()
	if err := Supported(); err != nil {
		t.Skip(err)
	}
	n, err := Create(filepath.Join(t.TempDir(), "ns"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		n.Close()
		if err := Remove(n.Path()); err != nil {
			t.Error(err)
		}
	})
	return n
}

// space is the namespace of the calling thread.
func space(t *testing.T) string {
	t.Helper()
	target, err := os.Readlink(own)
	if err != nil {
		t.Fatal(err)
	}
	return target
}

func TestDoStaysInsideAndComesBack(t *testing.T) {
	n := create(t)
	before := space(t)
	var inside, child string
	boom := errors.New("boom")
	err := n.Do(func() error {
		inside = space(t)
		out, err := exec.Command("readlink", "/proc/self/ns/net").Output()
		if err != nil {
			t.Error(err)
		}
		child = strings.TrimSpace(string(out))
		names, err := net.Interfaces()
		if err != nil || len(names) != 1 || names[0].Flags&net.FlagUp == 0 {
			t.Errorf("interfaces %v, %v; want loopback, up", names, err)
		}
		return boom
	})
	if !errors.Is(err, boom) {
		t.Errorf("Do gives %v", err)
	}
	if inside == before || child != inside || space(t) != before {
		t.Errorf("before %s, inside %s, its child %s, after %s", before, inside, child, space(t))
	}
	out, err := exec.Command("nsenter", "--net="+n.Path(), "--", "readlink", "/proc/self/ns/net").Output()
	if err != nil || strings.TrimSpace(string(out)) != inside {
		t.Errorf("nsenter leads to %q, %v; want %s", out, err, inside)
	}
	if err := (*NS)(nil).Do(func() error { return boom }); !errors.Is(err, boom) {
		t.Error(err)
	}
}

// A listener inside is reached only from inside.
func TestSocketsStayInside(t *testing.T) {
	n := create(t)
	l, err := n.Listen(t.Context(), "tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer l.Close()
	go func() {
		if c, err := l.Accept(); err == nil {
			c.Close()
		}
	}()
	c, err := n.Dial(t.Context(), "tcp", l.Addr().String())
	if err != nil {
		t.Fatal(err)
	}
	c.Close()
	if c, err := net.DialTimeout("tcp", l.Addr().String(), time.Second); err == nil {
		c.Close()
		t.Error("the listener inside is reached from outside")
	}
}

func TestConfigure(t *testing.T) {
	n := create(t)
	err := n.Do(func() error {
		if err := Configure(Interface{Name: "lo", Address: netip.MustParsePrefix("198.18.9.10/15"), MTU: 1400, Queue: 77, DefaultRoute: true}); err != nil {
			return err
		}
		lo, err := net.InterfaceByName("lo")
		if err != nil {
			return err
		}
		addresses, err := lo.Addrs()
		if lo.MTU != 1400 || !slices.ContainsFunc(addresses, func(a net.Addr) bool { return a.String() == "198.18.9.10/15" }) {
			t.Errorf("MTU %d, addresses %v", lo.MTU, addresses)
		}
		routes, err2 := os.ReadFile("/proc/thread-self/net/route")
		if !bytes.Contains(routes, []byte("lo\t00000000\t00000000")) {
			t.Errorf("no default route:\n%s", routes)
		}
		return errors.Join(err, err2)
	})
	if err != nil {
		t.Error(err)
	}
	if err := n.Do(func() error {
		return Configure(Interface{Name: "none0", Address: netip.MustParsePrefix("198.18.9.10/15"), MTU: 1500, Queue: 1})
	}); err == nil || !strings.Contains(err.Error(), "none0") {
		t.Errorf("an interface that is not there: %v", err)
	}
}

func TestCreateRefusesAndRemoveForgives(t *testing.T) {
	n := create(t)
	if _, err := Create(n.Path()); !errors.Is(err, os.ErrExist) {
		t.Errorf("a second namespace on the same file: %v", err)
	}
	first, err := Open(n.Path())
	if err != nil {
		t.Fatalf("the first is gone: %v", err)
	}
	first.Close()
	nothing := filepath.Join(t.TempDir(), "nothing")
	if err := Remove(nothing); err != nil {
		t.Error(err)
	}
	// A file that a killed Create left unmounted.
	if err := os.WriteFile(nothing, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := Remove(nothing); err != nil {
		t.Error(err)
	}
	if _, err := os.Stat(nothing); !errors.Is(err, os.ErrNotExist) {
		t.Error("the file is still there")
	}
}
