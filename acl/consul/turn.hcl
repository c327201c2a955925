# A TURN server finds the nodes to whose seats it may relay.
service "nearcast-node" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
