node_pool "stream-cpu" {
  description = "Stream nodes that draw and encode on the CPU."
}
