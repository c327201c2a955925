// Package testkit is what tests of all parts share: real servers, free ports, the
// application that tests look at, and waiting for a condition with a deadline.
//
//	consul := testkit.StartConsul(t) // skips where there is no Consul
//	port := testkit.Ports(t, 1)[0]
//	testkit.Until(t, "the seat is idle", func() bool { return state() == wire.SeatIdle })
//
// All that it starts ends with the test. It knows no part of Nearcast but
// internal/wire, so that each of them may use it. Package browser beside it
// drives a Chromium, package nodes the nodes of a site.
package testkit
