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
//	hello{ticket} → refused                     forged, expired, used, other site, unknown app, no such version
//	              → queued* → starting* → granted ⇄ relay → ended
//	hello{resume} → granted ⇄ relay → ended
//	              → ended | refused             the seat is gone; why, as far as Nomad knows
//
// Seats are offered to waiting people in the order they came. The offer is
// this replica's guess: the claim is the upgrade at the seat (wire.AttachPath),
// and who loses it is offered the next seat without losing her place.
// A ticket is marked as used right before the first claim, so that a person who
// waits loses nothing when her brain dies: her ticket is good at the next one.
// The mark stays until no clock of the fleet, half a minute wrong as it may be,
// can take any renewal of the ticket for good.
//
// # Versions
//
// Versions are Nomad's, and each site counts its own. A router puts a version
// into the ticket only where the person asked for one, and places her only where
// that is the newest; most tickets say 0.
//
//	0              any seat: one of the present version if there is one, else an older one that is idle
//	the present    a seat of that version, dispatched if need be; an idle one of another is not hers
//	another        an idle seat of that version, or one on its way; else she is refused at once,
//	               with the version that the site has by now
//
// Only the present version is dispatched. A version larger than any known here
// is waited for, three seconds, for the router may have heard of it first.
//
// # The pool
//
// Each replica dispatches seats for its own people when none is free or on the
// way, with the session as idempotency token. Only the holder of wire.PoolLock
// dispatches ahead of need, retires idle seats, publishes what routers are to
// know and sweeps used tickets. What to do is decided by one pure function, plan.
//
// Two replicas may dispatch the last seat below max at the same instant. Nomad
// orders them: whoever finds its own beyond max takes it back at once.
//
// # When seats fail to start
//
// A seat that dies before it has served is a failure of its app's version: the
// next is not dispatched before 1, 2, 4, … 60 seconds are over, by any replica,
// for all see the same deaths in Nomad. It counts in whatever order the news
// comes: also if the child was dead before Dispatch returned its name, or lived
// and died between two looks at Nomad. After the wait one seat is dispatched, not
// one for each who wants one. Only a seat of the same version that came
// up after the last failure, and served or stood idle for a while, ends the
// back-off; that others serve says nothing of how seats start now.
//
// A child that no node takes stands in line at Nomad, and while it does nothing
// more of the app is dispatched. So it must not outlive its purpose: the replica
// that dispatched it stops it when its person has gone. The leader stops what is
// left: children of a version or an app that is no more, and any that was
// dispatched for a person and is blocked for more than five minutes, because her
// replica may be gone too. If she still waits, she has another dispatched.
//
// # What routers are told
//
// The leader writes each app with its room (wire.App) and what the site is
// (wire.SiteInfo) to Consul, a quarter of a second after it changed. People wait
// at every replica: the leader asks each of the others how many, so that none
// counts that is gone.
package brain
