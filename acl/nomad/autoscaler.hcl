# The autoscaler removes nodes without seats, so it must see seats, and drains the nodes that
# it removes. Its scaling policies are files of its own job: it reads none from Nomad,
# and scales no job.
namespace "apps" {
  capabilities = ["read-job"] # to see on which nodes seats are
}
namespace "default" {
  capabilities = ["read-job"] # for its own node
}
# Nomad has no narrower right to drain.
node {
  policy = "write"
}
