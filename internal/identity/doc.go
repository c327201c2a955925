// Package identity is how the parts of a site prove to each other what they are: mutual
// TLS in which each end knows the other's public key from Consul.
//
// A process makes a key when it starts, and registers the key's fingerprint in its record
// (wire.Seat.Key, wire.Instance.Key). Consul decides by its ACLs who may write the record
// of which service, so a key that stands with a service is a process of that service. There
// is no authority to guard, nothing expires, and a key ends with its process:
//
//	me, err := identity.New()
//	client := me.Client(seat.Key)                  // the other end must have exactly this key
//	server := me.Server(peers, wire.BrainService)  // takes nobody but brains
//	server := me.Open()                            // takes everybody …
//	h := identity.Only(next, peers, wire.RouterService) // … but this handler routers alone
//
// Package fleet has the Peers that ask Consul. Certificates are only what TLS needs to
// carry a key: names, times and signatures in them count for nothing. Sessions of TLS are
// not resumed, so each connection proves the key anew.
//
// Consul's own authority ("Connect CA") was tried first. Its agents keep the certificates
// that they got, with the keys, and give them to every local process without asking what
// its token may do (Consul 1.21, agent/leafcert: the cache knows no token). So a relay on
// an edge node could have been a brain.
package identity
