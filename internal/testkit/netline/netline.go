// Package netline is an access line between a seat and a browser: thin, far, lossy,
// jittering or cut, and it changes while it is used. The kernels that tests run on may
// have no netem, so the line is a process's own: both ends know only its two sockets,
// because it stands in the candidates instead of theirs.
//
//	l := netline.New(t, netline.Way{Delay: 20 * time.Millisecond, Jitter: 10 * time.Millisecond, Loss: 0.05})
//	answer, err := peer.Answer(ctx, netline.WithoutCandidates(offer))
//	page.take(l.Through(t, answer))
//	l.Set(netline.Way{Cut: true})
//
// Loss, delay and jitter are the same in both directions, and random. The rate is of
// what the seat sends.
package netline

import (
	"container/heap"
	"fmt"
	"math/rand/v2"
	"net"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"
)

// Way says what the line does to packets.
type Way struct {
	Rate  int           // bits a second from the seat; 0 is without a limit
	Depth time.Duration // how long a packet may wait for the rate; 0 is a second
	Loss  float64       // of packets, at random
	Delay time.Duration // in one direction
	// Jitter is the mean of a further delay, which is exponential: packets overtake
	// each other.
	Jitter time.Duration
	// Spread is the most of a further delay, which is even.
	Spread time.Duration
	Cut    bool // nothing passes
}

// Overhead is the size of the IP and UDP headers, which also use the line.
const Overhead = 28

// Wait says how long one packet of the seat waited for those before it.
type Wait struct {
	At      time.Time
	Waited  time.Duration
	Dropped bool
}

// Line is one line.
type Line struct {
	near, far *net.UDPConn // what the browser sends to, and what the seat sends to
	wake      chan struct{}
	done      chan struct{}

	mu     sync.Mutex
	way    Way
	free   time.Time // when the line has sent all that it holds
	seat   *net.UDPAddr
	page   *net.UDPAddr
	waits  []Wait
	passed int // bytes
	flying flying
	number int
}

// New makes a line that ends with the test.
func New(t testing.TB, way Way) *Line {
	t.Helper()
	l := &Line{way: way, wake: make(chan struct{}, 1), done: make(chan struct{})}
	for _, conn := range []**net.UDPConn{&l.near, &l.far} {
		var err error
		if *conn, err = net.ListenUDP("udp4", &net.UDPAddr{IP: net.IPv4(127, 0, 0, 1)}); err != nil {
			t.Fatal(err)
		}
		(*conn).SetReadBuffer(4 << 20)
	}
	var all sync.WaitGroup
	all.Go(func() { l.read(l.near, false) })
	all.Go(func() { l.read(l.far, true) })
	all.Go(l.deliver)
	t.Cleanup(func() {
		l.near.Close()
		l.far.Close()
		close(l.done)
		all.Wait()
	})
	return l
}

// Set changes the line. What is on its way arrives as it would have.
func (l *Line) Set(way Way) {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.way = way
}

// Begin forgets what was measured.
func (l *Line) Begin() {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.waits, l.passed = nil, 0
}

// Measured is how long each packet waited for the rate, and how many bytes passed.
func (l *Line) Measured() (waits []Wait, bytes int) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return slices.Clone(l.waits), l.passed
}

// read takes packets from one end.
func (l *Line) read(conn *net.UDPConn, fromSeat bool) {
	buf := make([]byte, 2048)
	for {
		n, from, err := conn.ReadFromUDP(buf)
		if err != nil {
			return
		}
		l.take(buf[:n], from, fromSeat)
	}
}

func (l *Line) take(data []byte, from *net.UDPAddr, fromSeat bool) {
	l.mu.Lock()
	defer l.mu.Unlock()
	if !fromSeat {
		l.page = from
	}
	now := time.Now()
	at := now
	lost := l.way.Cut || rand.Float64() < l.way.Loss
	if fromSeat && l.way.Rate > 0 {
		if l.free.Before(now) {
			l.free = now
		}
		depth := l.way.Depth
		if depth == 0 {
			depth = time.Second
		}
		w := Wait{At: now, Waited: l.free.Sub(now)}
		w.Dropped = w.Waited > depth || lost
		l.waits = append(l.waits, w)
		if lost = w.Dropped; !lost {
			l.free = l.free.Add(time.Duration((len(data) + Overhead) * 8 * int(time.Second) / l.way.Rate))
			at = l.free
		}
	}
	if lost {
		return
	}
	if fromSeat {
		l.passed += len(data) + Overhead
	}
	at = at.Add(l.way.Delay + time.Duration(rand.ExpFloat64()*float64(l.way.Jitter)))
	if l.way.Spread > 0 {
		at = at.Add(rand.N(l.way.Spread))
	}
	l.number++
	heap.Push(&l.flying, packet{at: at, number: l.number, data: slices.Clone(data), toPage: fromSeat})
	if l.flying[0].number == l.number {
		select {
		case l.wake <- struct{}{}:
		default:
		}
	}
}

// deliver hands out packets when they are due.
func (l *Line) deliver() {
	timer := time.NewTimer(time.Hour)
	for {
		select {
		case <-l.done:
			return
		case <-l.wake:
		case <-timer.C:
		}
		timer.Reset(l.due())
	}
}

// due hands out what is due, and returns the time to the next.
func (l *Line) due() time.Duration {
	l.mu.Lock()
	defer l.mu.Unlock()
	for len(l.flying) > 0 {
		if wait := time.Until(l.flying[0].at); wait > 0 {
			return wait
		}
		p := heap.Pop(&l.flying).(packet)
		switch {
		case p.toPage && l.page != nil:
			l.near.WriteToUDP(p.data, l.page)
		case !p.toPage && l.seat != nil:
			l.far.WriteToUDP(p.data, l.seat)
		}
	}
	return time.Hour
}

// WithoutCandidates is an offer from which the seat learns no address of the browser.
func WithoutCandidates(offer string) string {
	lines := strings.Split(offer, "\r\n")
	return strings.Join(slices.DeleteFunc(lines, func(s string) bool { return strings.HasPrefix(s, "a=candidate:") }), "\r\n")
}

// Through is a seat's answer, or another description, with the line's address in place of its end's: that on
// loopback, or else the first one of IPv4.
func (l *Line) Through(t testing.TB, answer string) string {
	t.Helper()
	all := strings.Split(answer, "\r\n")
	end := ""
	for _, text := range all {
		if ip := candidate(text); ip == "127.0.0.1" || end == "" {
			end = ip
		}
	}
	var lines []string
	for _, text := range all {
		if !strings.HasPrefix(text, "a=candidate:") {
			lines = append(lines, text)
			continue
		}
		if ip := candidate(text); ip == "" || ip != end {
			continue
		}
		f := strings.Fields(text)
		address, err := net.ResolveUDPAddr("udp4", f[4]+":"+f[5])
		if err != nil {
			t.Fatal(err)
		}
		l.mu.Lock()
		l.seat = address
		l.mu.Unlock()
		f[4], f[5] = "127.0.0.1", fmt.Sprint(l.near.LocalAddr().(*net.UDPAddr).Port)
		lines = append(lines, strings.Join(f, " "))
	}
	return strings.Join(lines, "\r\n")
}

// candidate is the address of a candidate that the line can stand in for: of UDP and IPv4.
func candidate(text string) string {
	f := strings.Fields(text)
	if !strings.HasPrefix(text, "a=candidate:") || len(f) < 8 || f[2] != "udp" || net.ParseIP(f[4]).To4() == nil {
		return ""
	}
	return f[4]
}

// packet is on its way.
type packet struct {
	at     time.Time
	number int
	data   []byte
	toPage bool
}

// flying is a heap, the next to arrive first.
type flying []packet

func (f flying) Len() int { return len(f) }
func (f flying) Less(i, j int) bool {
	if f[i].at.Equal(f[j].at) {
		return f[i].number < f[j].number
	}
	return f[i].at.Before(f[j].at)
}
func (f flying) Swap(i, j int) { f[i], f[j] = f[j], f[i] }
func (f *flying) Push(x any)   { *f = append(*f, x.(packet)) }
func (f *flying) Pop() any {
	old := *f
	p := old[len(old)-1]
	*f = old[:len(old)-1]
	return p
}
