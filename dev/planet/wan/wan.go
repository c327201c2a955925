package wan

import (
	"errors"
	"fmt"
	"net/netip"
	"slices"
	"sync"
	"sync/atomic"
	"time"

	"golang.org/x/sys/unix"

	"github.com/nearcast/nearcast/dev/planet/netns"
)

// Net holds the addresses of all namespaces. RFC 2544 reserves it for benchmarks: no
// LAN and no Internet host has them.
var Net = netip.MustParsePrefix("198.18.0.0/15")

// Device is the name of the interface that a namespace gets.
const Device = "wan0"

// Path is how packets travel between two namespaces, the same in both directions. The
// zero value has no delay and no loss.
type Path struct {
	// RTT is the round trip; each direction takes half of it.
	RTT time.Duration
	// Jitter is the mean of a further delay of each packet, in one direction. It has
	// an exponential distribution: most packets are near RTT/2, some far above.
	Jitter time.Duration
	// Loss is the probability that a packet is lost, in one direction.
	Loss float64
	// Reorder lets jitter change the order of packets. Without it a late packet delays
	// those behind it, as in a queue.
	Reorder bool
	// Cut loses every packet.
	Cut bool
}

func (p Path) check() error {
	switch {
	case p.RTT < 0 || p.RTT > maxRTT:
		return fmt.Errorf("round trip %s: must be between 0 and %s", p.RTT, maxRTT)
	case p.Jitter < 0 || p.Jitter > maxRTT:
		return fmt.Errorf("jitter %s: must be between 0 and %s", p.Jitter, maxRTT)
	case !(p.Loss >= 0 && p.Loss <= 1):
		return fmt.Errorf("loss %v: must be between 0 and 1", p.Loss)
	}
	return nil
}

const maxRTT = 10 * time.Second

// Count is what happened to packets from one namespace to another.
type Count struct {
	Packets, Bytes uint64 // delivered
	Lost           uint64 // by Path.Loss
	Cut            uint64 // by Path.Cut
	Overflown      uint64 // lost because too much was on its way
}

// ErrUnknown says that no namespace with a name is attached.
var ErrUnknown = errors.New("not on this WAN")

// ErrClosed says that the WAN was closed.
var ErrClosed = errors.New("the WAN is closed")

// WAN joins namespaces. Any goroutine may call its methods.
type WAN struct {
	wake int // eventfd
	done chan struct{}

	mu       sync.Mutex
	topology atomic.Pointer[topology] // replaced whole, under mu
	closed   bool
}

// topology is what the forwarding thread works with. It never changes, except for the
// counts of directions.
type topology struct {
	ends       []*end
	byNet      [512]int16 // (index+1) of the end that has a /24 of Net
	paths      [][]Path   // [from][to], by index
	directions [][]*direction
	stop       bool
}

// end is an attached namespace.
type end struct {
	name    string
	index   int
	address netip.Addr
	fd      int // its TUN device
}

// New starts a WAN without any namespace.
func New() (*WAN, error) {
	wake, err := unix.Eventfd(0, unix.EFD_CLOEXEC|unix.EFD_NONBLOCK)
	if err != nil {
		return nil, fmt.Errorf("start WAN: %w", err)
	}
	w := &WAN{wake: wake, done: make(chan struct{})}
	w.topology.Store(&topology{})
	go w.forward()
	return w, nil
}

// Attach joins a namespace under a name. It gets the address, and all packets to the
// address's /24.
func (w *WAN) Attach(name string, ns *netns.NS, address netip.Addr) error {
	if !Net.Contains(address) {
		return fmt.Errorf("attach %s: %s is not in %s", name, address, Net)
	}
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return fmt.Errorf("attach %s: %w", name, ErrClosed)
	}
	old := w.topology.Load()
	slot := slotOf(address.As4())
	if taken := old.byNet[slot]; taken != 0 {
		return fmt.Errorf("attach %s: %s has the /24 of %s already", name, old.ends[taken-1].name, address)
	}
	if slices.ContainsFunc(old.ends, func(e *end) bool { return e.name == name }) {
		return fmt.Errorf("attach %s: a namespace of this name is attached already", name)
	}
	fd, err := openTUN(ns, netip.PrefixFrom(address, Net.Bits()))
	if err != nil {
		return fmt.Errorf("attach %s: %w", name, err)
	}
	n := len(old.ends)
	next := &topology{ends: append(slices.Clip(old.ends), &end{name: name, index: n, address: address, fd: fd}), byNet: old.byNet}
	next.byNet[slot] = int16(n + 1)
	for from := range n + 1 {
		var paths []Path
		var directions []*direction
		if from < n {
			paths, directions = slices.Clone(old.paths[from]), slices.Clone(old.directions[from])
		}
		for to := len(paths); to <= n; to++ {
			paths, directions = append(paths, Path{Cut: from != to}), append(directions, &direction{})
		}
		next.paths, next.directions = append(next.paths, paths), append(next.directions, directions)
	}
	w.replace(next)
	return nil
}

// replace gives the forwarding thread a new topology.
func (w *WAN) replace(t *topology) {
	w.topology.Store(t)
	// A full counter wakes the thread too.
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Names are the names of the attached namespaces, in the order of Attach.
func (w *WAN) Names() (names []string) {
	for _, e := range w.topology.Load().ends {
		names = append(names, e.name)
	}
	return names
}

// Set sets the path between two namespaces. Packets on their way keep their times,
// unless the path is cut.
func (w *WAN) Set(a, b string, p Path) error {
	return w.Update(a, b, func(old *Path) { *old = p })
}

// Update changes the path between two namespaces.
func (w *WAN) Update(a, b string, change func(*Path)) error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if w.closed {
		return ErrClosed
	}
	old := w.topology.Load()
	i, j, err := old.pair(a, b)
	if err != nil {
		return err
	}
	p := old.paths[i][j]
	change(&p)
	if err := p.check(); err != nil {
		return fmt.Errorf("path between %s and %s: %w", a, b, err)
	}
	next := *old
	next.paths = slices.Clone(old.paths)
	for _, way := range [][2]int{{i, j}, {j, i}} {
		next.paths[way[0]] = slices.Clone(next.paths[way[0]])
		next.paths[way[0]][way[1]] = p
	}
	w.replace(&next)
	return nil
}

// Path is the path between two namespaces.
func (w *WAN) Path(a, b string) (Path, error) {
	t := w.topology.Load()
	i, j, err := t.pair(a, b)
	if err != nil {
		return Path{}, err
	}
	return t.paths[i][j], nil
}

// Count is what happened to packets from one namespace to another so far.
func (w *WAN) Count(from, to string) (Count, error) {
	t := w.topology.Load()
	i, j, err := t.pair(from, to)
	if err != nil {
		return Count{}, err
	}
	return t.directions[i][j].count(), nil
}

// pair is the indices of two different ends.
func (t *topology) pair(a, b string) (i, j int, err error) {
	index := func(name string) int {
		return slices.IndexFunc(t.ends, func(e *end) bool { return e.name == name })
	}
	if i = index(a); i < 0 {
		return 0, 0, fmt.Errorf("%s is %w", a, ErrUnknown)
	}
	if j = index(b); j < 0 {
		return 0, 0, fmt.Errorf("%s is %w", b, ErrUnknown)
	}
	if i == j {
		return 0, 0, fmt.Errorf("there is no path from %s to itself", a)
	}
	return i, j, nil
}

// Close removes the devices. The namespaces stay, and reach nothing.
func (w *WAN) Close() error {
	w.mu.Lock()
	if w.closed {
		w.mu.Unlock()
		return nil
	}
	w.closed = true
	last := *w.topology.Load()
	last.stop = true
	w.replace(&last)
	w.mu.Unlock()
	<-w.done
	problems := []error{unix.Close(w.wake)}
	for _, e := range last.ends {
		problems = append(problems, unix.Close(e.fd))
	}
	if err := errors.Join(problems...); err != nil {
		return fmt.Errorf("close WAN: %w", err)
	}
	return nil
}
