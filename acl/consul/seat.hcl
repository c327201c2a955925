# A stream host registers its seat with the agent of its own node.
service "nearcast-seat" {
  policy = "write"
}
# To know by their keys the brains of the site, and the drain of its node.
service "nearcast-brain" {
  policy = "read"
}
service "nearcast-drain" {
  policy = "read"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
