# A publisher runs apps' jobs, and reads their versions and logs. All of it is in the
# namespace "apps": the platform's jobs and variables are in "default" (nomad/jobs/router
# holds the ticket key), where this token can do nothing. It has no right to nodes, to
# volumes, to variables, or to run commands in a seat.
namespace "apps" {
  capabilities = [
    "list-jobs", "parse-job", "read-job", "plan-job", "register-job", "revert-job", "deregister-job",
    "read-logs", "alloc-lifecycle",
  ]
}
# To see what became of the fetches of their apps' content.
namespace "fetches" {
  capabilities = ["list-jobs", "read-job"]
}
