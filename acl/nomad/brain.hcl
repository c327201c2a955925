# A brain watches the apps' jobs, starts seats by dispatch, and stops seats that
# nobody needs. It cannot change a job, enter a seat, or see a node.
namespace "apps" {
  capabilities = ["list-jobs", "read-job", "dispatch-job", "deregister-job"]
}
# To name apps that an earlier release left here.
namespace "default" {
  capabilities = ["list-jobs"]
}
