# A router registers itself, and reads what it needs to rank sites.
service "nearcast-router" {
  policy = "write"
}
service "nearcast-brain" {
  policy = "read"
}
key_prefix "nearcast/apps/" {
  policy = "read"
}
key "nearcast/site" {
  policy = "read"
}
# To check launch tokens.
key_prefix "nearcast/launch-keys/" {
  policy = "read"
}
# To check API keys.
key_prefix "nearcast/api-keys/" {
  policy = "read"
}
# The health of a service includes that of its node.
node_prefix "" {
  policy = "read"
}
# To learn which site this is.
agent_prefix "" {
  policy = "read"
}
