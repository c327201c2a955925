// Package wan is a wide area network in userspace. It joins network namespaces, and
// gives each pair of them a round trip of its own.
//
//	w, err := wan.New()
//	defer w.Close()
//	err = w.Attach("tokyo", tokyo, netip.MustParseAddr("198.18.5.10"))
//	err = w.Attach("dublin", dublin, netip.MustParseAddr("198.18.3.10"))
//	err = w.Set("tokyo", "dublin", wan.Path{RTT: 202 * time.Millisecond})
//	err = w.Update("tokyo", "dublin", func(p *wan.Path) { p.Cut = true })
//
// Each namespace gets a TUN device with its address and a default route. Each IPv4
// packet that leaves through it is read here, held for half the round trip of the pair,
// and written to the device of the namespace that has the /24 of its destination. When a
// path is cut, packets on their way and later ones are lost, and the sender is told
// nothing, as with a site that is down. A path that was never Set is cut. A packet to an
// address that no namespace has is answered with ICMP "network unreachable": programs
// that look for the Internet learn at once that there is none.
//
// One thread does all of this. It waits for packets and for the next one that is due in
// a single ppoll with nanoseconds, at real-time priority, so that delays are right also
// on a busy machine. A path adds about 0.1 ms to its round trip. The kernel's traffic
// control is not used: many kernels come without netem.
//
// The devices are removed when the WAN is closed or its process dies.
package wan
