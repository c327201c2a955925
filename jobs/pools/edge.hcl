node_pool "edge" {
  description = "Routers and brains: people reach them through the load balancers."
}
