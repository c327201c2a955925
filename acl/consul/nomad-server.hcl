# A Nomad server finds its peers through Consul.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "nomad" {
  policy = "write"
}
