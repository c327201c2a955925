# The brain of a site. People connect to it by WebSocket; it gives them seats, and keeps
# each app's warm pool.
#
#   nomad var put nomad/jobs/brain ticket_keys=@keys/ticket-keys.pem
#   nomad job run -var url=wss://eu-west-1.play.example/v1/connect brain.nomad.hcl
#
# For TURN, add its secret to the variable as turn_secret, and name the servers in options:
# see turn.nomad.hcl.
#
# For webhooks, name in options where events are kept: --events=s3://bucket/events. Where that takes
# an account of its own, add it to the variable as events_access_key and events_secret_key.
#
# One brain is the leader and keeps the pool; if it ends, another one takes over. A new
# version replaces brains one by one: pages connect to another brain, and streams
# continue. Its rights are in acl/consul/brain.hcl and acl/nomad/brain.hcl.

variable "url" {
  type        = string
  default     = ""
  description = "URL of the site's brains for browsers, wss://host/v1/connect; empty: the address of each brain (without TLS, for one machine)"
}

variable "count" {
  type        = number
  default     = 2
  description = "number of brains; with a port, at most the number of edge nodes − 1"
}

variable "port" {
  type        = number
  default     = 0
  description = "fixed port on edge nodes, for a load balancer; 0: any"
}

variable "internal_port" {
  type        = number
  default     = 0
  description = "fixed port on edge nodes for the site's own processes (metrics, what routers and brains ask, and the feeds of stream nodes), which the site's firewall opens for edge and stream nodes alone; 0: any"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "node pool of the brains"
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

variable "canary" {
  type        = number
  default     = 1
  description = "1: a new version starts before the old one stops; 0: after it, if no node is free for both"
}

variable "acl" {
  type        = bool
  default     = true
  description = "whether Consul has ACLs, and so the task needs a token"
}

variable "traces" {
  type        = string
  default     = ""
  description = "URL of an OpenTelemetry collector that takes OTLP by HTTP, such as http://collector.internal:4318, for traces of launches; empty: none"
}

variable "options" {
  type        = list(string)
  default     = []
  description = "more options of nearcast brain, such as --residency=eu, --gpu=nvidia-l4 or --default-access=public"
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
    # The first instance that cannot run fails the deployment.
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
      port "internal" {
        static = var.internal_port
      }
    }

    # For Nomad's deployments. Routers find brains in Consul, where each brain registers
    # itself.
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

    # A task that ends is started again. If it ends repeatedly, Nomad moves it to
    # another node, and a deployment fails.
    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "brain" {
      driver = var.driver

      # A Consul token and a Nomad token that are valid while the task runs.
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
        change_mode = "noop" # the brain reads the file again when it changes
        data        = "{{ with nomadVar \"nomad/jobs/brain\" }}{{ .ticket_keys }}{{ end }}"
      }

      # With this secret, each person gets a name and password for TURN: see turn.nomad.hcl.
      template {
        destination = "secrets/turn.env"
        env         = true
        data        = "{{ with nomadVar \"nomad/jobs/brain\" }}{{ with .turn_secret }}NEARCAST_TURN_SECRET={{ . | toJSON }}{{ end }}{{ end }}"
      }

      # The account of the store of events, where the node's role is not it: see --events.
      template {
        destination = "secrets/events.env"
        env         = true
        data        = "{{ with nomadVar \"nomad/jobs/brain\" }}{{ with .events_access_key }}AWS_ACCESS_KEY_ID={{ . | toJSON }}\n{{ end }}{{ with .events_secret_key }}AWS_SECRET_ACCESS_KEY={{ . | toJSON }}\n{{ end }}{{ end }}"
      }

      config {
        command = var.binary
        args    = concat(["brain"], var.options)
      }
      env {
        NEARCAST_LISTEN          = "${NOMAD_IP_http}:${NOMAD_PORT_http}"
        NEARCAST_INTERNAL_LISTEN = "${NOMAD_IP_internal}:${NOMAD_PORT_internal}"
        NEARCAST_URL             = var.url
        NEARCAST_NAME            = "brain-${NOMAD_SHORT_ALLOC_ID}"
        NEARCAST_TICKET_KEYS     = "${NOMAD_SECRETS_DIR}/ticket-keys.pem"
        # Launches are traced where it is not empty.
        OTEL_EXPORTER_OTLP_ENDPOINT = var.traces
        # Below the memory of the task, so that Go collects in time.
        GOMEMLIMIT = "330MiB"
        # The task's socket of Nomad's API, on any node.
        NEARCAST_NOMAD = "unix://${NOMAD_SECRETS_DIR}/api.sock"
      }

      resources {
        cpu    = 500
        memory = 384 # for 4,096 people: see docs/SCALE.md
      }
      kill_timeout = "20s" # time to send people to another brain
    }
  }
}
