# The Consul agent of an edge host: it may speak for hosts of its role, and for no other.
node_prefix "edge-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# To leave in order when the host ends.
agent_prefix "edge-" {
  policy = "write"
}
