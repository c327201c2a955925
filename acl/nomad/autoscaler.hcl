# The autoscaler reads how full stream nodes are, and drains those that it takes.
# Its policies are files of its own job, so it reads none, and scales no job.
namespace "default" {
  capabilities = ["read-job"] # the reservations of allocations, its own node
}
# Nomad knows no narrower right to drain.
node {
  policy = "write"
}
