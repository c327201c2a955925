# The driver of a stream node is the node's registrar: it registers the node, and finds the
# brains, to which it tells the node's seats.
service "nearcast-node" {
  policy = "write"
}
service "nearcast-brain" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
