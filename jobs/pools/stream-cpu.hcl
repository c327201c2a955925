node_pool "stream-cpu" {
  description = "Stream hosts that draw and encode on the CPU."
}
