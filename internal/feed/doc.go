// Package feed tells others of items that change: first all of them, then what changed.
// One end has a Source and streams it; the other end reads.
//
//	seats := feed.NewSource[wire.Seat]()
//	seats.Set(seat.ID, seat)        // never waits
//	seats.Delete(seat.ID)
//	err := seats.Stream(ctx, ws)    // to one follower; call it for each of them
//
//	err := feed.Read(ctx, ws, func(m feed.Message[wire.Seat]) error {
//		…                           // apply m
//		return nil
//	})
//
// Which end has dialled does not matter. Both calls own the connection and close it when
// they return, and they return when the connection or ctx ends. Then the end that has
// dialled connects anew, and the follower gets everything again.
//
// # What a follower is told
//
// The snapshot comes first. Its first message has All, and all of its messages but the last
// have More:
//
//	{"seq":1,"all":true,"more":true,"set":{"a":…,"b":…}}
//	{"seq":2,"set":{"c":…}}
//	{"seq":3,"set":{"a":…},"gone":["b"]}
//	{"seq":4,"brief":{"a":"…"}}
//	{"seq":5}
//
// What is not in the snapshot is gone. Then come the changes. A follower does not see each
// value that an item had: while it reads, or the network is slow, an item may change many
// times, and it is told the last value. An item that came and went meanwhile is never told.
// So what is kept for a follower is a set of ids, which never grows beyond the items that
// exist and those that the follower knows. The last value is always told.
//
// Where a small part of items changes often, SetBrief tells only that part, in a text whose form
// the two ends agree on. It always stands on the item as the follower was told it last: one that was
// told nothing of an item, or to which a change of the whole item waits, is told the whole item.
//
// A message has MaxItems items at most and is bounded in bytes, so an item must be small:
// its JSON may have 64 KiB.
//
// # When it ends
//
// Seq counts the messages of a connection. A message that is missing ends Read with ErrGap:
// the two ends no longer agree on anything. The source says something at least every four
// seconds, if need be a message without items, and the reader answers at least that often.
// Either end gives up after nine seconds of silence, also where a network drops all packets,
// or where the reader's fn takes that long.
package feed
