# A Nomad client finds its servers through Consul. The tasks' own tokens come from
# their workload identities.
agent_prefix "" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
service_prefix "nomad" {
  policy = "write"
}
