// Package secrets makes the files with which the nodes of a cluster prove their identity,
// before there is any node: a certificate authority, certificates, gossip keys, the
// agents' tokens, the routers' ticket keys.
//
//	written, err := secrets.Make(secrets.Config{Dir: dir, Sites: []string{"site-a"}})
//
//	DIR/ca.pem, ca-key.pem                 the authority that signs certificates
//	DIR/node-key.pem, node-key.pub.pem     the keys of the statements with which nodes log in to Nomad
//	DIR/node-key.also.pem                  other public keys of such statements that servers take, if any
//	DIR/shared/…                           gossip keys and tokens, the same at all sites
//	DIR/rotation/…                         what a rotation that goes on keeps for its next steps
//	DIR/tickets/…                          the routers' keys, see internal/ticket
//	DIR/<site>/<role>/…                    the folder of such a node, see provision.SecretFiles
//
// The private keys of the first two lines never leave DIR; keep it as safe as a password
// store. Call Make again at any time: to add a site, and to renew certificates. It keeps
// existing files, makes missing ones, and renews what has less than a third of its time
// left. Calls at the same time wait for each other. After a file of shared was removed,
// Make makes a new one.
package secrets
