node_pool "stream-gpu" {
  description = "Stream nodes with a GPU that draws and encodes."
}
