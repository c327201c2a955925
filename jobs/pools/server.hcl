node_pool "server" {
  description = "Servers, and what watches over the site: the autoscaler."
}
