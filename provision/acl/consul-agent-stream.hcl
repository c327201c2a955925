# The Consul agent of a stream host: it may speak for hosts of its role, and for no other.
node_prefix "stream-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# To leave in order when the host ends.
agent_prefix "stream-" {
  policy = "write"
}
