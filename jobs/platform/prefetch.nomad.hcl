# Has the nodes of a site fetch the content of each version of an app that is registered, before
# anybody asks for a seat: see docs/CAPACITY.md.
#
#   nomad job run prefetch.nomad.hcl
#
# It listens nowhere. The jobs by which nodes fetch are in the namespace fetches, and so are the variables
# nearcast/prefetch, which says what was fetched, and nearcast/prefetch-nodes, which says on which nodes.
# Its rights are in acl/nomad/prefetch.hcl.

variable "every" {
  type        = string
  default     = "10s"
  description = "how often it looks for new versions; 0 turns it off"
}

variable "wait" {
  type        = string
  default     = "35m"
  description = "how long a quarter of the nodes that still fetches holds up the next quarter"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "node pool of the job itself"
}

variable "driver" {
  type        = string
  default     = "exec"
  description = "exec; raw_exec if the client cannot isolate tasks"
}

variable "binary" {
  type        = string
  default     = "/usr/local/bin/nearcast"
  description = "path of nearcast on the nodes"
}

job "prefetch" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  update {
    max_parallel      = 1
    min_healthy_time  = "5s"
    healthy_deadline  = "2m"
    progress_deadline = "0"
    auto_revert       = true
  }

  group "prefetch" {
    count = contains(["0", "0s"], var.every) ? 0 : 1

    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "delay"
    }

    task "prefetch" {
      driver = var.driver

      # A Nomad token that is valid while the task runs.
      identity {
        env = true
      }

      config {
        command = var.binary
        args    = ["app", "prefetch", "--follow", "--every", var.every, "--wait", var.wait]
      }
      env {
        GOMEMLIMIT = "50MiB"
        # The task's socket of Nomad's API, on any node.
        NEARCAST_NOMAD = "unix://${NOMAD_SECRETS_DIR}/api.sock"
      }

      resources {
        cpu    = 50
        memory = 64
      }
    }
  }
}
