# The job prefetch reads the jobs of apps, and registers others that have nodes fetch their content. These
# have a namespace of their own, as Nomad has no narrower right to register: what is in it is no app for
# brains, and nodes start only fetches there.
namespace "apps" {
  capabilities = ["list-jobs", "read-job"]
}
namespace "fetches" {
  capabilities = ["list-jobs", "read-job", "register-job", "deregister-job"]
  variables {
    path "nearcast/prefetch" { # which versions were fetched
      capabilities = ["read", "write"]
    }
    path "nearcast/prefetch-nodes" { # which nodes it has seen
      capabilities = ["read", "write"]
    }
  }
}
# It sees which nodes come later, and have yet to fetch.
node {
  policy = "read"
}
