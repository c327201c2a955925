// Package guard keeps strangers from using up a server: it bounds connections, in
// all and by network, the time that they have to prove themselves, and the bytes
// that are held for them.
//
//	g := guard.New(guard.Limits{Unproven: 512, Proven: 3072, …}, func(why string) { … })
//	server := &http.Server{Handler: handler}
//	g.Attach(server)
//	go g.Run(ctx)
//	server.Serve(g.Listener(listener))
//	…
//	c := guard.Of(r.Context()) // in a handler
//	if !c.Reserve(len(data)) { … } // before it is held
//	if err := c.Prove(); err != nil { … } // the credential is good
//
// # The proven and the unproven
//
// A connection is unproven until Prove: until a credential was checked, for a brain
// the ticket in hello. An unproven connection has Calm to prove itself, and Busy as
// soon as half of Unproven, or of UnprovenBytes, is taken. A request that is
// answered gives it the same time again.
//
// Where an unproven connection is one too many, the oldest one is cut, of the same
// network or of all: an honest client proves itself within a round trip, so the
// oldest is the least likely to be one. An attacker must therefore open all of
// Unproven connections in the time of one round trip, again and again, to keep
// others out. Proven connections are never cut for others: Prove refuses instead.
//
// # The lobby
//
// Where Limits has a Pace, connections that were accepted wait, unread, until the pace takes
// them in: at most 256, the oldest first, none for longer than 1.5 s, and of one network at most
// an eighth once all places are taken. The others are closed, and their clients connect again.
// To accept and close one costs 60 µs: at 5,000 a second, a third of a processor. So at most
// four are closed for each that is taken in. The kernel, whose queue is 128 long, drops those
// beyond that, and their clients' kernels try again after 1, 2, 4 s. Nobody is taken in either
// in place of an unproven connection that is younger than half a second. Without a lobby, a
// server that gets many times what it can serve begins with all of them and ends with none.
//
// # Networks
//
// One person's machine has one IPv4 address, or any of an IPv6 /64: that is Near. An
// office or a mobile network has many people behind one address, so Near is a few
// hundred. A provider gives one customer a /24 or a /48 at most without questions:
// that is Wide, looser, as it may hold many households.
package guard
