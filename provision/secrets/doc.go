// Package secrets makes what the nodes of a cluster prove themselves with, as
// files, before there is any node: a certificate authority, certificates, gossip
// keys, the agents' tokens, the routers' ticket keys.
//
//	DIR/ca.pem, ca-key.pem            what signs certificates
//	DIR/node-key.pem, node-key.pub.pem   what signs the statements nodes log in to Nomad with
//	DIR/shared/…                      gossip keys and tokens, alike at all sites
//	DIR/tickets/…                     the routers' keys, internal/ticket
//	DIR/<site>/<role>/…               what such a node has, provision.SecretFiles
//
// The private keys of the first two lines never leave DIR; keep it as you keep a
// password store. Make can be called again at any time, and is how a site is added
// and certificates are renewed: it keeps what is there, makes what is missing, and
// renews what has less than a third of its time left; calls at the same moment
// wait for each other. Taking a file of shared away makes a new one.
package secrets
