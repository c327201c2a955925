# Who publishes apps: nomad job run, its versions, its logs. Not the platform's
# variables (nomad/jobs/router holds the ticket key), and no node.
namespace "default" {
  capabilities = [
    "list-jobs", "parse-job", "read-job", "plan-job", "register-job", "revert-job", "deregister-job",
    "read-logs", "alloc-lifecycle",
  ]
}
