# A publisher runs apps' jobs, and reads their versions and logs. The variables of the
# platform are closed (nomad/jobs/router holds the ticket key), and so are nodes.
namespace "default" {
  capabilities = [
    "list-jobs", "parse-job", "read-job", "plan-job", "register-job", "revert-job", "deregister-job",
    "read-logs", "alloc-lifecycle",
  ]
}
