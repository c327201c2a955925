# The job prefetch registers jobs that have nodes fetch the content of apps. Nomad cannot bind the
# right to register to these jobs alone: in the namespace "apps" it could register others too.
namespace "apps" {
  capabilities = ["list-jobs", "read-job", "register-job"]
  variables {
    path "nearcast/prefetch" { # which versions were fetched
      capabilities = ["read", "write"]
    }
  }
}
