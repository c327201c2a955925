# A TURN server finds the seats that it may relay to.
service "nearcast-seat" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
