// Package provision renders the configuration of Consul and Nomad for a node:
// from Values, which say what this node is to be, and Secrets, which prove that
// it may, to the files that the agents read.
//
//	v := provision.Values{Role: provision.Stream, Site: "eu-central-1", Join: []string{"10.0.1.4"}}
//	s, err := provision.LoadSecrets("/etc/nearcast/secrets")
//	files, err := provision.Render(v, s)
//	changed, err := provision.Apply("/", files)
//
// The same templates serve EC2 instances, Vagrant's machines and, with other
// values, the agents of a dev cluster (package dev). Render touches nothing and asks nobody:
// equal input gives equal bytes. Apply writes only what differs.
//
// # Roles
//
//	server   Consul server, Nomad server, and a Nomad client in pool "server"
//	         for what steers the site (the autoscaler), off the internet
//	edge     Consul client, Nomad client in pool "edge": routers and brains
//	stream   Consul client, Nomad client in pool "stream-cpu" or "stream-gpu" with
//	         the stream driver: seats
//
// # What is open
//
// The HTTP APIs of both agents listen on loopback only, without TLS: whoever is
// on the node, or comes through a tunnel to it, still needs a token. Everything
// between nodes is RPC under mutual TLS, and gossip under a shared key. ACLs deny
// what no token allows.
//
// # Files
//
//	/etc/consul.d/agent.hcl, server.hcl            Consul
//	/etc/nomad.d/agent.hcl, server.hcl, client.hcl, stream.hcl   Nomad
//
// A node has the files of its role, and Apply removes the others.
package provision
