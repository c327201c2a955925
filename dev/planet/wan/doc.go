// Package wan is a wide area network in userspace: it joins network namespaces
// and gives each pair of them a round trip of its own.
//
//	w, err := wan.New()
//	defer w.Close()
//	err = w.Attach("tokyo", tokyo, netip.MustParseAddr("198.18.5.10"))
//	err = w.Attach("dublin", dublin, netip.MustParseAddr("198.18.3.10"))
//	err = w.Set("tokyo", "dublin", wan.Path{RTT: 202 * time.Millisecond})
//	err = w.Update("tokyo", "dublin", func(p *wan.Path) { p.Cut = true })
//
// Each namespace gets a TUN device with its address and a default route. Every
// IPv4 packet that leaves through it is read here, held for half the pair's
// round trip, and written to the device of whoever has the /24 around its
// destination. A packet on its way when a path is cut is lost, as is every one
// after it, without a word to the sender: so does a dead site. A path that was
// never Set is cut. What has a destination that nobody has is answered with
// ICMP "network unreachable", so that programs which look for the Internet
// learn at once that there is none.
//
// One thread does all of it: it waits for packets and for the next one that is
// due in a single ppoll with nanoseconds, at real-time priority, so that delays
// stay honest where the machine is busy. What a path adds to the asked round
// trip is in the order of 0.1 ms. Nothing of the kernel's traffic control is
// used: many kernels come without netem.
//
// The devices go when the WAN is closed or its process dies, however it dies.
package wan
