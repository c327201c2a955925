# Nomad renders for Prometheus where the routers and brains are that it scrapes.
service "nearcast-router" {
  policy = "read"
}
service "nearcast-brain" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
