# A node that ends drains itself. Nomad knows no narrower right than for any node.
node {
  policy = "write"
}
