// Package events tells customers' servers what happens at a site, by webhook: CloudEvents 1.0 in
// structured JSON, signed as Standard Webhooks has it.
//
//	k := events.New(events.Config{Site: "eu-west-1", Brain: "brain-1", Store: store, Registry: registry})
//	k.Lead(ctx, look) // while this brain is the site's leader; look says what there is now
//
// A customer's server gets
//
//	POST /hooks
//	content-type: application/cloudevents+json
//	webhook-id: s-eu-west-1-mfrggzdfmztwq2lknnwg23tpoa-2-started
//	webhook-timestamp: 1772600769
//	webhook-signature: v1,K5oZfzN95Z9UVu1EsfQmfVNQhnkZ2pj9o9NDN/H/pI4=
//
//	{"specversion":"1.0","id":"s-eu-…-2-started","source":"/sites/eu-west-1",
//	 "type":"io.nearcast.session.started","subject":"s-eu-…","time":"…","datacontenttype":"application/json",
//	 "data":{"site":"eu-west-1","app":"cad-viewer","session":"s-eu-…","number":2,"customer":"shop",…}}
//
// and answers 2xx within 15 seconds. Anything else is tried again for a day.
//
// # Where events come from
//
// One brain of a site derives them, the leader. Events are the difference between what it knew of
// sessions, seats and apps and what the nodes' feeds, the queues and Nomad say now (Known.Diff, a pure
// function). It looks twice a second. What it knows is kept in the site's object store, and so are
// events that are not delivered yet:
//
//	known/<term>.json.gz                 what the leader of a term knows
//	pending/<webhook>/<term>-<n>-<unix>.json
//	                                     events of one second for one webhook, until all are delivered
//
// The events are stored, then what is known, and what is stored is sent. It is one object a webhook
// and one more, a second at most, and none while nothing happens; what is known of 5,000 sessions has
// 348 KiB (TestKnownOfASite). Nothing of it goes through Raft. Each leader has a term of its own,
// larger than all before: a leader that hangs and wakes up does not overwrite what its successor knows.
//
// # What is lost, and when
//
// A leader that dies: nothing. The next one loads what was known, compares, and goes on. Its events
// have the same ids, since an id is made of the session, the event's number in it and the type. So
// an event may come twice, also after later ones, with one id.
//
//	lasts less than half a second     a detach that short is not told; nor is a person who comes and
//	                                  goes in that time without a seat
//	no brain at all                   what began and ended meanwhile is not told. Of what ended, the
//	                                  end is: Nomad keeps it. Seats that failed to start are not told
//	no store                          events wait in the leader's memory, 10,000 a webhook; what is
//	                                  beyond is dropped and counted. If the leader dies then, the next one
//	                                  tells of the difference to what was stored last
//	the store is emptied              sessions that are open are told of as if they were new
//	a webhook fails for a day         its events are dropped one by one, and counted; the day begins
//	                                  when they are stored
//
// # Order
//
// An event of a session waits until the one before has arrived or was dropped. Other sessions go
// on. An endpoint at which nothing arrives is tried with one event at a time, each in turn, every five
// minutes at least; when one arrives, all others follow at once.
//
// An event that is refused, while others are taken, holds back its own session alone. 1,000 events of a
// webhook are in memory, and where none of these can be sent, 19,000 more without their bodies.
//
// # Hostile endpoints
//
// The URL is an operator's, but the server behind it is a customer's. Addresses that are not public are
// refused when the connection is made, whatever the name resolves to. Redirects are not followed, four
// requests run at once for a webhook and sixty-four in all, and of an answer a few KiB are read.
package events
