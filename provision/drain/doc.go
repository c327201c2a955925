// Package drain ends a node in order. The cloud announces the end of an instance: two
// minutes before for a spot node, and as long before as a lifecycle hook waits when an auto
// scaling group removes or replaces a node. In that time
//
//  1. Nomad places nothing more on the node, and moves what runs there. Routers and brains
//     start on other nodes, and seats end with their sessions. Nomad stops the seats that
//     are left at the deadline; the person is told "drained";
//  2. seats without a person end at once. They would wait for a person until the
//     deadline; the brain starts others on other nodes;
//  3. the node leaves Consul, and a server leaves its quorum in order;
//  4. the group is told that it need not wait any longer.
//
// Of a node that was given up before it was ready (package ready), or because its Nomad stayed dead
// (package health), Nomad drains nothing. Its idle seats end, and its sessions are waited for until the
// deadline: somebody may have got a seat there after it was given up.
//
// When the cloud only advises to leave a spot node, the driver is told, whose brains give people the
// seats of other nodes first. Nothing ends for that.
//
// The process may be killed at any line: the next one reads the same announcement, and
// does the same again. If Nomad cannot be reached at all, the group goes on at the
// deadline, because the node is lost anyway.
//
//	err := drain.Run(ctx, drain.Config{Meta: imds, Group: client, Lifecycle: hook, Node: node, Seats: drain.NodeSeats("/run/nearcast")})
package drain
