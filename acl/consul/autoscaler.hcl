# The autoscaler registers its key, by which brains know it, and finds the brains that it asks.
service "nearcast-autoscaler" {
  policy = "write"
}
service "nearcast-brain" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
