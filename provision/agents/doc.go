// Package agents speaks to the agents of the node that it runs on, Consul's and Nomad's:
// whether they do their work, and to end it in order.
//
//	nomad := agents.Nomad{Address: "http://127.0.0.1:4646", IDFile: "/var/lib/nomad/client/client-id", Statement: "/etc/nearcast/secrets/nomad-node.jwt"}
//	err := nomad.Ready(ctx, "stream")   // "the driver stream is not healthy: …"
//
// It reads no environment variables: those may be an operator's.
package agents
