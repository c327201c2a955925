// Package brain is the session broker of a site. It speaks by WebSocket with
// the people who want a seat, claims seats for them, lets them wait in order
// while there is none, and keeps each app's warm pool.
//
// A brain owns nothing that a session needs: apps are Nomad's, seats say in
// Consul what they are, a seat alone knows who holds it, and whether a ticket
// was used stands in Consul. So brains may be killed and replaced at any moment,
// and any number of them may serve a site.
//
// # A person's way
//
//	hello{ticket} → refused                     forged, expired, used, other site, unknown app
//	              → queued* → starting* → granted ⇄ relay → ended
//	hello{resume} → granted ⇄ relay → ended
//	              → ended | refused             the seat is gone; why, as far as Nomad knows
//
// Seats are offered to waiting people in the order they came. The offer is
// this replica's guess: the claim is the upgrade at the seat (wire.AttachPath),
// and who loses it is offered the next seat without losing her place.
// A ticket is marked as used right before the first claim, so that a person who
// waits loses nothing when her brain dies: her ticket is good at the next one.
//
// # The pool
//
// Each replica dispatches seats for its own people when none is free or on the
// way, with the session as idempotency token. Only the holder of wire.PoolLock
// dispatches ahead of need, retires idle seats, publishes apps with their room
// and sweeps used tickets. What to do is decided by one pure function, plan.
//
// Two replicas may dispatch the last seat below max at the same instant. Nomad
// orders them: whoever finds its own beyond max takes it back at once.
package brain
