node_pool "stream-gpu" {
  description = "Stream nodes that draw and encode on a GPU."
}
