# The brain of a site: people reach it by WebSocket, it gives them seats and keeps
# each app's warm pool.
#
#   nomad var put nomad/jobs/brain ticket_keys=@keys/ticket-keys.pem
#   nomad job run -var url=wss://eu-west-1.play.example/v1/connect brain.nomad.hcl
#
# One of them keeps the pool, and another takes over when it dies. A new version
# replaces them one by one; pages go to another brain, and streams do not notice.
# What it may do is in acl/consul/brain.hcl and acl/nomad/brain.hcl.

variable "url" {
  type        = string
  default     = ""
  description = "where browsers reach the site's brains, wss://host/v1/connect; empty: each at its own address (no TLS: for one machine)"
}

variable "count" {
  type        = number
  default     = 2
  description = "brains at this site; with a port, one less than there are edge nodes"
}

variable "port" {
  type        = number
  default     = 0
  description = "port on every edge node, so that a load balancer finds it; 0: any"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "where brains run"
}

variable "driver" {
  type        = string
  default     = "exec"
  description = "exec, or raw_exec where the client cannot isolate"
}

variable "binary" {
  type        = string
  default     = "/usr/local/bin/nearcast"
  description = "nearcast on the nodes"
}

variable "canary" {
  type        = number
  default     = 1
  description = "1: a new version starts beside the old ones; 0: in their place, where no node is free for it"
}

variable "acl" {
  type        = bool
  default     = true
  description = "whether Consul has ACLs, so that a token is needed"
}

variable "options" {
  type        = list(string)
  default     = []
  description = "more options of nearcast brain: --residency=eu, --gpu=nvidia-l4"
}

job "brain" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  update {
    max_parallel     = 1
    canary           = var.canary
    min_healthy_time = "5s"
    healthy_deadline = "2m"
    # The first instance that cannot run ends the deployment.
    progress_deadline = "0"
    auto_promote      = var.canary > 0
    auto_revert       = true
  }

  group "brain" {
    count = var.count

    network {
      port "http" {
        static = var.port
      }
    }

    # For the deployment's sake; the site's routers find brains in Consul, where
    # each registers itself.
    service {
      name     = "brain"
      provider = "nomad"
      port     = "http"
      check {
        type     = "http"
        path     = "/healthz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    # Died by accident: start again. Dies again and again: another node, and a
    # deployment that does so has failed.
    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "brain" {
      driver = var.driver

      # A token of Consul's and one of Nomad's, for as long as the task lives.
      consul {}
      dynamic "identity" {
        for_each = var.acl ? ["consul_default"] : []
        content {
          name = identity.value
          aud  = ["consul.io"]
          ttl  = "1h"
        }
      }
      identity {
        env = true
      }

      template {
        destination = "secrets/ticket-keys.pem"
        change_mode = "noop" # read again when it changes
        data        = "{{ with nomadVar \"nomad/jobs/brain\" }}{{ .ticket_keys }}{{ end }}"
      }

      config {
        command = var.binary
        args    = concat(["brain"], var.options)
      }
      env {
        NEARCAST_LISTEN      = "${NOMAD_IP_http}:${NOMAD_PORT_http}"
        NEARCAST_URL         = var.url
        NEARCAST_NAME        = "brain-${NOMAD_SHORT_ALLOC_ID}"
        NEARCAST_TICKET_KEYS = "${NOMAD_SECRETS_DIR}/ticket-keys.pem"
        # The task's own way to Nomad's API, on any node.
        NEARCAST_NOMAD = "unix://${NOMAD_SECRETS_DIR}/api.sock"
      }

      resources {
        cpu    = 500
        memory = 128 # 21 MB at rest
      }
      kill_timeout = "20s" # people are told to go elsewhere
    }
  }
}
