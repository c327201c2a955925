# The Consul agent of a stream node: it may speak for nodes of its role, and for no other.
node_prefix "stream-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# To leave in order when the node ends.
agent_prefix "stream-" {
  policy = "write"
}
