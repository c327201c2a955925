// Package wire holds every message and record that crosses a process.
//
// The package is plain data with its JSON form, the names of states, phases and
// reasons, and checks of well-formed values. Each conversation has a file:
//
//	launch        browser → router          REST, below /v1
//	signalling    browser ⇄ brain ⇄ seat    WebSocket, one JSON object a message
//	input         browser → seat            WebRTC data channels
//	messages      page ⇄ app                WebRTC data channel to the seat; WebSocket in the seat
//	seat          stream host → driver → brain   a node's feed of its seats
//	node          driver → Consul           service nearcast-node; seen by brains and TURN servers
//	demand        brain → autoscaler        GET /v1/demand at internal listeners: people and seats
//	fleet         brain → Consul            KV nearcast/apps/<app>, services of routers and brains; seen by routers
//	stream host   driver ⇄ stream host      spec.json, control.sock, exit.json
//	console       browser → console         REST and server-sent events, below /console
//	problem       anybody → caller          RFC 9457 problem details
//
//	data, err := json.Marshal(wire.Message{Type: wire.MsgHello, Ticket: ticket, SDP: offer})
//
// The JSON of each is held by a golden file in testdata: a change of a field
// changes a golden file, which a review sees.
//
// Units are in the names: _ms is milliseconds, _s seconds, _bps bits per second,
// _bytes bytes. Times are RFC 3339 in UTC. Field names are snake_case.
package wire
