# What the console does for its operators: drain a node, and keep new seats away from it. Nomad has no
# finer right for that than to write nodes. Sessions are ended by routers, not by Nomad.
node {
  policy = "write"
}
