# The console reads for everybody who has logged in: apps with their versions, failed seats and nodes.
# It cannot see the platform's jobs, a variable, a log or a file.
namespace "apps" {
  capabilities = ["list-jobs", "read-job"]
}
node {
  policy = "read"
}
