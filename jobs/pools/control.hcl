node_pool "control" {
  description = "Servers and what watches over the site: the autoscaler."
}
