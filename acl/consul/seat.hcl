# A stream host registers its seat with the agent of its own node.
service "nearcast-seat" {
  policy = "write"
}
agent_prefix "" {
  policy = "read"
}
