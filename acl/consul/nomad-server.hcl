# A Nomad server registers itself in Consul.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "nomad" {
  policy = "write"
}
