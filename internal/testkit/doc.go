// Package testkit is what tests of all parts share: real servers, free ports, a
// network that can be cut, ticket keys, the application that tests look at, and
// waiting for a condition with a deadline.
//
//	consul := testkit.StartConsul(t) // skips the test where there is no Consul
//	address := testkit.Address(t)
//	testkit.Until(t, "the seat is idle", func() bool { return state() == wire.SeatIdle })
//
// Everything that it starts ends with the test, and with the test's process. It
// imports no part of Nearcast but internal/wire and internal/ticket, so that every
// part can use it. Package browser below it drives a Chromium, package person is a person
// without one, package netline is a bad line between a seat and either. Only tests, e2e and bench may import it.
package testkit
