# The autoscaler reads scaling policies and the load of nodes, and drains the
# nodes that it takes out.
namespace "default" {
  policy = "scale"
}
namespace "*" {
  capabilities = ["list-jobs", "read-job"]
}
operator {
  policy = "read"
}
node {
  policy = "write"
}
