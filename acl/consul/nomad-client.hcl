# A Nomad client registers itself in Consul. Its tasks get their own tokens by their
# workload identities.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "nomad" {
  policy = "write"
}
