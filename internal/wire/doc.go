// Package wire holds every message and record that crosses a process.
//
// The package is plain data with its JSON form, the names of states, phases and
// reasons, and checks of well-formed values. Each file is one conversation:
//
//	launch.go   browser   → router   REST, under /v1
//	signal.go   browser   ⇄ brain ⇄ seat   WebSocket, one JSON object a message
//	input.go    browser   → seat     WebRTC data channels
//	seat.go     seat      → Consul   service nearcast-seat; seen by brains
//	fleet.go    brain     → Consul   KV nearcast/apps/<app>, services of routers and brains; seen by routers
//	streamhost.go driver  ⇄ stream host   spec.json, control.sock, exit.json
//	problem.go  anybody   → caller   RFC 9457 problem details
//
// The JSON of each is held by a golden file in testdata: a change of a field
// changes a golden file, which a review sees.
//
// Units are in the names: _ms is milliseconds, _s seconds, _bps bits per second,
// _bytes bytes. Times are RFC 3339 in UTC. Field names are snake_case.
package wire
