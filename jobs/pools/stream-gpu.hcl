node_pool "stream-gpu" {
  description = "Stream hosts with a GPU that draws and encodes."
}
