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

// Net holds the addresses of all namespaces: RFC 2544's for benchmarks, which
// are nobody's LAN and nobody's Internet.
var Net = netip.MustParsePrefix("198.18.0.0/15")

// Device is the name of the interface that a namespace gets.
const Device = "wan0"

// Path is how packets travel between two namespaces, the same both ways. The
// zero value is an immediate, perfect one.
type Path struct {
	// RTT is the round trip; each way takes half of it.
	RTT time.Duration
	// Jitter is the mean of a further time that each packet takes, one way.
	// It is exponential: most packets are near RTT/2, some are far above.
	Jitter time.Duration
	// Loss is the probability that a packet is lost, one way.
	Loss float64
	// Reorder lets jitter change the order of packets. Without it a packet that
	// is late holds up those behind it, as a queue does.
	Reorder bool
	// Cut loses every packet.
	Cut bool
}

func (p Path) check() error {
	switch {
	case p.RTT < 0 || p.RTT > maxRTT:
		return fmt.Errorf("a round trip of %s; it has to be 0 to %s", p.RTT, maxRTT)
	case p.Jitter < 0 || p.Jitter > maxRTT:
		return fmt.Errorf("jitter of %s; it has to be 0 to %s", p.Jitter, maxRTT)
	case !(p.Loss >= 0 && p.Loss <= 1):
		return fmt.Errorf("loss of %v; it has to be 0 to 1", p.Loss)
	}
	return nil
}

const maxRTT = 10 * time.Second

// Count is what happened to packets from one namespace to another.
type Count struct {
	Packets, Bytes uint64 // handed over
	Lost           uint64 // by Path.Loss
	Cut            uint64 // by Path.Cut
	Overflown      uint64 // because too much was on the way already
}

// ErrUnknown says that no namespace of a name is attached.
var ErrUnknown = errors.New("not on this WAN")

// ErrClosed says that the WAN was closed.
var ErrClosed = errors.New("the WAN is closed")

// WAN joins namespaces. Its methods may be called by any goroutine.
type WAN struct {
	wake int // eventfd
	done chan struct{}

	mu       sync.Mutex
	topology atomic.Pointer[topology] // replaced whole, under mu
	closed   bool
}

// topology is what the forwarding thread looks at. It is never changed, but
// for what lines count.
type topology struct {
	ends  []*end
	byNet [512]int16 // (index+1) of the end that has a /24 of Net
	paths [][]Path   // [from][to], by index
	lines [][]*line
	stop  bool
}

// end is an attached namespace.
type end struct {
	name    string
	index   int
	address netip.Addr
	fd      int // its TUN device
}

// New starts a WAN that joins nothing yet.
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

// Attach joins a namespace under a name. It gets the address, and with it all
// packets to the /24 around it.
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
		var lines []*line
		if from < n {
			paths, lines = slices.Clone(old.paths[from]), slices.Clone(old.lines[from])
		}
		for to := len(paths); to <= n; to++ {
			paths, lines = append(paths, Path{Cut: from != to}), append(lines, &line{})
		}
		next.paths, next.lines = append(next.paths, paths), append(next.lines, lines)
	}
	w.replace(next)
	return nil
}

// replace gives the forwarding thread another topology.
func (w *WAN) replace(t *topology) {
	w.topology.Store(t)
	// A full counter is as good a wake-up as one more.
	_, _ = unix.Write(w.wake, []byte{1, 0, 0, 0, 0, 0, 0, 0})
}

// Names are those of the attached namespaces, in the order of attaching.
func (w *WAN) Names() (names []string) {
	for _, e := range w.topology.Load().ends {
		names = append(names, e.name)
	}
	return names
}

// Set makes the path between two namespaces. Packets on their way keep the
// time that they were given, unless the path is cut.
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
	return t.lines[i][j].count(), nil
}

// pair finds two different ends by name.
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

// Close takes the devices away. The namespaces stay, and reach nothing.
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
