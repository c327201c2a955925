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
# The health of a service is that of its node too.
node_prefix "" {
  policy = "read"
}
# Which site am I at?
agent_prefix "" {
  policy = "read"
}
