# The autoscaler reads the load of stream nodes, and drains the nodes that it
# removes. Its scaling policies are files of its own job: it reads none from Nomad,
# and scales no job.
namespace "apps" {
  capabilities = ["read-job"] # for what seats reserve
}
namespace "default" {
  capabilities = ["read-job"] # for its own node
}
# Nomad has no narrower right to drain.
node {
  policy = "write"
}
