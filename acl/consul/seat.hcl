# A stream host knows by their keys the brains of the site, and the drain of its node. It
# registers nothing: the driver tells of its seat.
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
