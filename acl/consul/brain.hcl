# A brain registers itself, finds seats, publishes the site's apps, marks tickets
# as used, and competes for the pool lock.
service "nearcast-brain" {
  policy = "write"
}
service "nearcast-seat" {
  policy = "read"
}
key_prefix "nearcast/" {
  policy = "write"
}
# Locks are held by sessions that fall with the brain's own health check.
session_prefix "" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
