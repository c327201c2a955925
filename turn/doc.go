// Package turn relays the packets of people whose network lets no UDP out to the seats. It
// is a TURN server (RFC 8656, by pion/turn) that serves one purpose and no other:
//
//	s, err := turn.New(turn.Config{
//		Realm: "nearcast", Secrets: []ticket.TURNSecret{current, previous},
//		RelayIP: node, ExternalIP: public, PortMin: 21000, PortMax: 21999,
//	})
//	fleet.WatchNodes(ctx, s.Nodes)           // whom relays may reach
//	err = s.Serve(ctx, turn.Listeners{UDP: packets, TCP: tcp, TLS: tls})
//
// Who may have a relay: those with a name and password of a brain (ticket.TURNSecret). A new
// relay needs ones that are good now. A relay that exists is refreshed with those it
// was made with, so that a picture outlives them, for Config.MaxAge at most.
//
// Where a relay sends: to addresses and UDP ports at which seats of the site take media,
// as its nodes say in Consul (wire.Node.Media). A permission for another address is refused
// (403), and packets to or from another port are dropped. While Consul is away the last view
// counts. A node tells its ports when it starts, and stays known for twelve hours after it was
// silent, as sessions go on there.
// Loopback, link-local and multicast addresses are refused whatever Consul says.
//
// A page that checks what its person's network lets through has no session. Brains give it a
// name of another secret (ticket.TURNSecret.ForChecks), for a relay that carries nothing, has
// no port, and ends after ten seconds at the latest (checks.go).
//
// What a relay costs: each has a limit of bytes a second and direction, each name a number
// of relays, and the server a number in all. Connections by TCP and TLS are bounded by
// internal/guard until they have a relay; then they end with it.
package turn
