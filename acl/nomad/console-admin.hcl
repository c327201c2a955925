# What the console does for its admins: what operators may, and to register and revert apps. A job in the
# namespace "apps" can only run seats (acl/README.md, Publishers).
namespace "apps" {
  capabilities = ["list-jobs", "read-job", "parse-job", "plan-job", "register-job", "revert-job"]
}
node {
  policy = "write"
}
