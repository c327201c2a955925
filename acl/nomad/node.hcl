# A node drains itself before it ends. Nomad has no right to drain one node alone.
node {
  policy = "write"
}
