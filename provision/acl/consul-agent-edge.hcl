# The Consul agent of an edge node: it may speak for nodes of its role, and for no other.
node_prefix "edge-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# To leave in order when the node ends.
agent_prefix "edge-" {
  policy = "write"
}
