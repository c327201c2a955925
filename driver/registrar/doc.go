// Package registrar tells the brains of a site which seats its node has. It knows nothing of
// Nomad: the driver names its tasks.
//
//	r := registrar.New(registrar.Config{Dir: "/run/nearcast", Consul: consul, Listen: listen, Log: log})
//	go r.Run(ctx)                                // registers the node, dials the brains
//	r.Follow(ctx, registrar.Task{ID: alloc, …})  // until the task has ended
//
// # What is told
//
// Each stream host says on its control socket what its seat is (wire.SeatPath). The
// registrar checks that, and puts it into the node's feed, which it streams to every brain
// of the site (internal/feed, wire.FeedPath). The brain knows the registrar by the key that
// stands with the node in Consul (wire.NodeService), and Consul knows the node's name. So
// there is no new listener on the node.
//
// A stream host may be taken over, as it parses what browsers send. It says for itself only
// what it alone knows: state, session, progress, and the port and key of its seat API. What
// seat it is, of which app and job, and on which node, is the driver's own knowledge. A
// record of another allocation, with an address of another machine, or with the key or
// address of another seat is refused, and its seat is not told of. All values are bounded in
// size and number, and so is how often they change.
//
// # When parts die
//
// The registrar holds nothing. After a kill -9 the next plugin gets its tasks back from
// Nomad, asks their control sockets and streams everything anew. Where two plugin processes
// have one run directory, the one that came last is the registrar: it writes its name into
// the directory, and the earlier one stops. A seat leaves the feed when its stream host
// closes the control socket, which a dead process does at once.
//
// Without Consul nothing is told, and tasks run all the same: nothing here holds up the
// driver, and all is tried again.
//
// # For the node's drain
//
// A Unix socket in the run directory answers, to root alone, which seats the node has
// (wire.NodeSocket).
package registrar
