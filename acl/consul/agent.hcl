# The Consul agent of a node. ROLE stands for the node's role, which apply.sh fills
# in: an agent registers nodes of its own role, and no others.
node_prefix "ROLE-" {
  policy = "write"
}
node_prefix "" {
  policy = "read"
}
service_prefix "" {
  policy = "read"
}
# The drain of a stream node, which asks the node's idle seats to end.
service "nearcast-drain" {
  policy = "write"
}
# To leave in order when the node ends.
agent_prefix "ROLE-" {
  policy = "write"
}
