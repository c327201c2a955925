// Package provision renders the configuration of Consul and Nomad for a node: from
// Values, which describe the node, and Secrets, which prove its identity, to the files
// that the agents read.
//
//	v := provision.Values{Role: provision.Stream, Site: "eu-central-1", Join: []string{"10.0.1.4"}}
//	s, err := provision.LoadSecrets("/etc/nearcast/secrets", v.Role)
//	files, err := provision.Render(v, s)
//	changed, err := provision.Apply("/", files, provision.Managed(v.Paths))
//
// The same templates serve EC2 instances, Vagrant's machines and, with other values,
// the agents of a dev cluster (package dev). Render reads and writes nothing: equal input
// gives equal bytes. Apply writes only what differs.
//
// # Roles
//
//	server   Consul server, Nomad server, and a Nomad client in pool "server" for what
//	         watches over the site (the autoscaler); not reachable from the internet
//	edge     Consul client, Nomad client in pool "edge": routers and brains
//	stream   Consul client, Nomad client in pool "stream-cpu" or "stream-gpu" with
//	         the stream driver: seats
//
// # What is open
//
// The HTTP APIs of both agents listen on loopback only, without TLS. A caller on the node
// or through a tunnel still needs a token. Between nodes there is only RPC under mutual
// TLS, and gossip under a shared key. ACLs deny what no token allows.
//
// # Files
//
//	/etc/consul.d/agent.hcl, server.hcl            Consul
//	/etc/nomad.d/agent.hcl, server.hcl, client.hcl, stream.hcl   Nomad
//	/etc/nearcast/firewall.nft                     what seats may reach, for nft
//
// A node has the files of its role. Apply removes the other ones.
package provision
