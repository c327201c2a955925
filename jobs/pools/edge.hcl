node_pool "edge" {
  description = "Routers and brains: reached by people, so they sit behind the load balancer."
}
