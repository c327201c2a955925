# The router of a site: REST API, beacon, player.
#
#   nearcast ticket-key keys
#   nomad var put nomad/jobs/router ticket_key=@keys/ticket-key.pem ticket_keys=@keys/ticket-keys.pem
#   nomad job run -var url=https://eu-west-1.play.example router.nomad.hcl
#
# With operator_token in the variable, that token reads and ends any session. With oidc_client_secret in it and
# --oidc-issuer=… and --oidc-client-id=… in options, people log in for apps with access = "login".
#
# A new version starts before the old one stops. If it is healthy, it replaces the old
# instances one by one; if not, Nomad goes back to the old version. With a static port the
# new version needs a free node: count is at most the number of edge nodes − 1.
# Its rights in Consul are in acl/consul/router.hcl; it has none in Nomad.

variable "url" {
  type        = string
  default     = ""
  description = "URL of the site's routers for browsers, https://host; empty: the address of each router (without TLS, for one machine)"
}

variable "count" {
  type        = number
  default     = 2
  description = "number of routers; with a port, at most the number of edge nodes − 1"
}

variable "port" {
  type        = number
  default     = 0
  description = "fixed port on edge nodes, for a load balancer; 0: any"
}

variable "internal_port" {
  type        = number
  default     = 0
  description = "fixed port on edge nodes for the site's own processes (metrics), which the site's firewall opens for edge nodes alone; 0: any"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "node pool of the routers"
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

variable "traces_share" {
  type        = number
  default     = 1
  description = "which share of the launches is traced, 0 to 1; brains and seats follow the router"
}

variable "options" {
  type        = list(string)
  default     = []
  description = "more options of nearcast router, such as --stun=stun:… or --trusted-proxy=10.0.0.0/24 behind a proxy that hides people's addresses"
}

job "router" {
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

  group "router" {
    count = var.count

    network {
      port "http" {
        static = var.port
      }
      port "internal" {
        static = var.internal_port
      }
    }

    # For Nomad's deployments. Other sites find routers in Consul, where each router
    # registers itself.
    service {
      name     = "router"
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

    task "router" {
      driver = var.driver

      # A Consul token that is valid while the task runs.
      consul {}
      dynamic "identity" {
        for_each = var.acl ? ["consul_default"] : []
        content {
          name = identity.value
          aud  = ["consul.io"]
          ttl  = "1h"
        }
      }

      template {
        destination = "secrets/ticket-key.pem"
        perms       = "0600"
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ .ticket_key }}{{ end }}"
      }
      # The router reads public keys again when they change; only a new private key needs
      # a restart.
      template {
        destination = "secrets/ticket-keys.pem"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ .ticket_keys }}{{ end }}"
      }

      # With this token, operators read and end any session: see docs/DEPLOY.md.
      template {
        destination = "secrets/operator-token"
        perms       = "0600"
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ with .operator_token }}{{ . }}{{ end }}{{ end }}"
      }

      # What the login provider knows the routers by: see docs/DEPLOY.md.
      template {
        destination = "secrets/oidc-client-secret"
        perms       = "0600"
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ with .oidc_client_secret }}{{ . }}{{ end }}{{ end }}"
      }

      config {
        command = var.binary
        args    = concat(["router"], var.options)
      }
      env {
        NEARCAST_LISTEN              = "${NOMAD_IP_http}:${NOMAD_PORT_http}"
        NEARCAST_INTERNAL_LISTEN     = "${NOMAD_IP_internal}:${NOMAD_PORT_internal}"
        NEARCAST_URL                 = var.url
        NEARCAST_NAME                = "router-${NOMAD_SHORT_ALLOC_ID}"
        NEARCAST_TICKET_KEY          = "${NOMAD_SECRETS_DIR}/ticket-key.pem"
        NEARCAST_OPERATOR_TOKEN_FILE = "${NOMAD_SECRETS_DIR}/operator-token"
        # Launches are traced where it is not empty.
        OTEL_EXPORTER_OTLP_ENDPOINT = var.traces
        OTEL_TRACES_SAMPLER         = "parentbased_traceidratio"
        OTEL_TRACES_SAMPLER_ARG     = var.traces_share

        NEARCAST_OIDC_CLIENT_SECRET_FILE = "${NOMAD_SECRETS_DIR}/oidc-client-secret"

        # What it knows of hundreds of sites lives long: collect before it has doubled.
        GOGC       = "40"
        GOMEMLIMIT = "104MiB"
      }

      resources {
        cpu    = 500
        memory = 128 # 20 MB at rest, with 200 sites of 100 apps: see docs/PLACEMENT.md
      }
      kill_timeout = "10s"
    }
  }
}
