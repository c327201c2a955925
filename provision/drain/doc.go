// Package drain ends a node in order. The cloud says some time ahead that it will
// take an instance: two minutes for spot, as long as a lifecycle hook waits for a
// node that its group scales in or replaces. Until then
//
//  1. Nomad places nothing more here, and is told to move what runs: routers and
//     brains start elsewhere, seats end with their sessions, and those that are
//     left at the deadline are stopped ("drained" is what the person is told);
//  2. seats that nobody holds are asked to end at once. They would wait for a
//     person until the deadline, and the brain starts others elsewhere;
//  3. Consul forgets the node at once, a server leaves its quorum in order;
//  4. the group is told that it need not wait any longer.
//
// A process killed at any line does no harm: the next one hears the same from the
// cloud and does the same again. If Nomad cannot be reached at all, the group is
// let go on at the deadline: the node is lost anyway.
package drain
