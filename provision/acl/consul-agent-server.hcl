# The Consul agent of a server host: it may speak for hosts of its role, and for no other.
node_prefix "server-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# To leave in order when the host ends.
agent_prefix "server-" {
  policy = "write"
}
