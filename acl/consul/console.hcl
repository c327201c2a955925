# The console reads the apps and the stream nodes of each site, and finds the routers of its own. It
# writes nothing.
service "nearcast-router" {
  policy = "read"
}
service "nearcast-node" {
  policy = "read"
}
key_prefix "nearcast/apps/" {
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
