// Package brain is the session broker of a site. It speaks by WebSocket with the
// people that want a seat, claims seats for them, queues them while no seat is
// free, and keeps each app's warm pool.
//
//	b, err := brain.New(brain.Config{ID: "brain-1", Site: "eu-central-1",
//		Fleet: consul, Nomad: nomad, Verifier: verifier})
//	go b.Run(ctx)
//	http.Handle("/", b.Handler())
//	…
//	b.Shutdown(ctx) // people connect to another brain; their seats keep streaming
//
// A brain owns nothing that a session needs. Apps are in Nomad, each node's registrar
// tells of its seats by a feed, only the seat knows who has it, and Consul knows whether a
// ticket was used. So a brain can be killed and replaced at any moment, and a site can
// have any number of brains, its replicas.
//
// # One person
//
//	hello{ticket} → refused                     forged, expired, used, other site, unknown app, no such version
//	              → queued* → starting* → granted ⇄ relay → ended
//	hello{resume} → granted ⇄ relay → ended
//	              → ended | refused             the seat is gone; with the reason, as far as Nomad knows it
//
// Seats are offered to waiting people in the order in which they came; see "The
// queue". An offer is this replica's guess; the claim is the WebSocket upgrade at the
// seat (wire.AttachPath). A person that loses a claim keeps their place and is offered
// the next seat. Right before a claim, the ticket's record in Consul names the seat for
// which the ticket is used. So a person whose brain dies can use the ticket at the next brain:
// while they wait, for any seat; in the middle of a claim, for that seat, which grants it
// again until their browser connects. See ticketUse. The record stays until nobody can accept
// any renewal of the ticket, even if each clock of the fleet is wrong by half a minute.
//
// A seat that refuses a ticket which this brain has just checked is sick: its node
// has a wrong clock or old keys. It is set aside for 5 s, and for longer each time
// after, up to 5 minutes. The person is offered the next seat. While Consul has no
// leader no record can be written, so people wait and are told so (wire.Queue.Paused).
// A person whose ticket has run out keeps their place for ticket.Leeway, but no seat
// is started for them.
//
// # The queue
//
// An app has one queue at a site, whichever brains its people are connected to: first come,
// first served. A person came when their first ticket was made (ticket.Claims.First), and
// each renewal keeps that. So a person whose brain is lost has the same place at the next
// brain. Each brain streams the people who wait there to all others (wire.LinePath,
// internal/feed), and all of them match the same free seats with the same people in the same
// order. Each offers seats only to people of its own, and leaves to the others what is theirs:
//
//	half a second   a free seat is left for a person of another brain, which may hang
//	five seconds    a person keeps the place whose brain is not heard any more; twenty where
//	                more people come than can be taken in
//
// What is still on its way between brains can make two of them offer one seat. Then the seat
// decides. A person who is offered a seat at once is told of to nobody. A person may have come to
// another brain before the one where they were has noticed it. They have one place all the same: here,
// if they wait here, else where the brain is that told of them last. What the other brains told counts
// once that one has them no more.
//
// How many seats a brain offers at once follows how fast it claims them (window). Beyond what
// it can claim, people wait in the queue. The first hundred are told of their place once a
// second at most, and the others every five seconds.
//
// # Strangers
//
// Everybody can connect. How many are taken in a second follows how long work waits for a
// processor, and hardly anybody is while many people who are inside wait for free seats (pace);
// the others wait in the guard's lobby. Package guard bounds their number,
// in all and by network, the time until they show a good ticket, and the bytes that are held
// for them; see limits. Each message is bounded by its type and must arrive within five
// seconds. Who sends too many, or does not read, is cut. Of candidates that come before a
// seat is granted sixteen are kept.
//
// # Versions
//
// Versions are Nomad's, and each site counts its own. A router puts a version into
// the ticket only if the person asked for one, and places them only at a site
// where that is the newest. Most tickets say 0.
//
//	0         any seat: one of the current version if there is one, else an older one that is idle
//	current   a seat of that version, which is dispatched if needed, and no other
//	another   an idle or starting seat of that version; if there is none, the person is
//	          refused at once and told the site's current version
//
// Only the current version is dispatched. A person that asks for a version larger
// than any known here waits up to three seconds: the router may have heard of it
// first.
//
// # The warm pool
//
// Each replica dispatches seats for its own people when no seat is free or on the
// way. The session is the idempotency token. Only the leader, which holds
// wire.PoolLock, dispatches ahead of need, retires idle seats, publishes for
// routers and sweeps used tickets. One pure function, plan, decides what to do.
//
// A seat that still fetches its content is asked to end when nobody has needed it for
// 30 seconds: no person of any brain waits for it, nor does the pool. The replica that
// dispatched it asks; the leader asks the pool's seats, and after five minutes those of
// replicas that are gone. The seat decides, so that one that is ready meanwhile stays. One that
// declines is for the next person, and is asked again after as long. Nobody asks while a replica
// that Consul lists does not say here who waits there.
//
// Two replicas may dispatch the last seat below max at the same moment. Nomad
// orders them: the replica whose seat is beyond max stops it, at once near max,
// else as soon as Nomad has told of it.
//
// # When seats fail to start
//
// A seat that dies before it has served is a failure of its app's version. Then no
// replica dispatches the next seat for 1, 2, 4, … 60 seconds; all of them see the
// same deaths in Nomad. The failure counts in whatever order the events come: also
// if the child was dead before Dispatch returned its name, or if Nomad told of its
// life and its death at once. One that came and went while Nomad's events were lost
// counts for nobody. After the wait, one seat is dispatched, however many
// people want one. The back-off ends when a seat of the same version that came up
// after the last failure serves, or stands idle for 20 seconds. Other seats do not
// show how seats start now. Nomad may tell of a job before it takes a dispatch of it, or not
// of its end. Then one seat is dispatched after 1, 2, 4, … 10 seconds, until Nomad takes one or
// tells of the job again. That is no failure, and nobody is refused.
//
// A child that no node can take waits in Nomad's queue. While it waits, nothing
// more of its app is dispatched, so it must not outlive its purpose. The replica
// that dispatched it stops it when its person has gone. The leader stops the
// others: children of another version or of an app that is gone, and children
// that were dispatched for a person and are blocked for more than five minutes,
// because their replica may be gone too. A person that still waits has another
// child dispatched.
//
// # What routers are told
//
// The leader writes each app with its capacity (wire.App) and the site's record
// (wire.SiteInfo) to Consul, within a quarter of a second after a change. It knows from
// the other replicas who waits there.
//
// # Events
//
// The leader gives what it sees of sessions, seats and apps to package events (snapshot), which tells
// customers' servers what is new. Each brain tells the others whose the sessions are that wait there.
//
// # Nodes and their seats
//
// The registrar of each node dials every brain, and streams its seats there
// (wire.FeedPath, internal/feed). A brain that starts serves nobody before all nodes that
// Consul lists have told theirs, three seconds at most. A node whose feed is lost keeps its
// seats for six seconds: its plugin may only have been killed. No node can tell of a seat on
// another one: a seat counts only if Nomad has its allocation on the node whose Consul agent
// has the registrar's key.
//
// # Parts
//
// All that a replica knows is in its state: the view of nodes and Nomad, the
// queues and the relayed sessions, under one mutex and without I/O. The view is indexed:
// each seat, from its dispatch to its end, is a unit, and each app has its units counted
// and its free seats in order. A change takes one unit out of the indexes (lift) and puts it
// back as it is now (place), and only its app is served and planned again. What follows from
// the time alone is done once a second. So what a change costs under the mutex follows from
// its app, and not from the size of the site. Apps share the window of offers and the nodes:
// they are served and planned in the order in which their people came (inTurn).
// What a transition does follows from the state, the call and st.now alone, and not from the
// order of a map: a seed of TestChaos gives the same run each time.
//
// The planner carries out what state decides, at Nomad and at seats. The leader does what only
// one replica does. The Broker serves people and wires the parts. Only the view reads its own
// tables; whatever else tells of seats or indexes them belongs there.
package brain
