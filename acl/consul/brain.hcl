# A brain registers itself, knows the site's nodes by the keys of their registrars, publishes the site's apps, marks tickets as
# used, and competes for the pool lock.
service "nearcast-brain" {
  policy = "write"
}
service "nearcast-node" {
  policy = "read"
}
# To know the site's routers and its autoscaler by their keys.
service "nearcast-router" {
  policy = "read"
}
service "nearcast-autoscaler" {
  policy = "read"
}
key_prefix "nearcast/" {
  policy = "write"
}
# Who may launch is none of its business: the most specific rule counts.
key_prefix "nearcast/launch-keys/" {
  policy = "deny"
}
key_prefix "nearcast/api-keys/" {
  policy = "deny"
}
# Webhooks have secrets with which the leader signs events: no other part may read them.
key_prefix "nearcast/webhooks/" {
  policy = "read"
}
# Locks belong to sessions, and a session ends when the brain's health check fails.
session_prefix "" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
agent_prefix "" {
  policy = "read"
}
