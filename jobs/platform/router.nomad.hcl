# The router of a site: REST API, beacon, player.
#
#   nearcast ticket-key keys
#   nomad var put nomad/jobs/router ticket_key=@keys/ticket-key.pem ticket_keys=@keys/ticket-keys.pem
#   nomad job run -var url=https://eu-west-1.play.example router.nomad.hcl
#
# For TURN, put its secret beside the keys as turn_secret, and name the servers in
# options: turn.nomad.hcl.
#
# A new version is started beside the old ones; when it is healthy it replaces
# them one by one, else everything goes back as it was. With a static port it needs
# a node of its own for that: count is then one less than there are edge nodes.
# What it may do in Consul is in acl/consul/router.hcl; it may do nothing in Nomad.

variable "url" {
  type        = string
  default     = ""
  description = "where browsers reach the site's routers, https://host; empty: each at its own address (no TLS: for one machine)"
}

variable "count" {
  type        = number
  default     = 2
  description = "routers at this site; with a port, one less than there are edge nodes"
}

variable "port" {
  type        = number
  default     = 0
  description = "port on every edge node, so that a load balancer finds it; 0: any"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "where routers run"
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
  description = "more options of nearcast router: --stun=stun:…, --turn=turn:…"
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
    # The first instance that cannot run ends the deployment.
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
    }

    # Nomad's own registry: what a deployment waits for. People and other sites
    # find routers in Consul, where each registers itself.
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

    # Died by accident: start again. Dies again and again: another node, and a
    # deployment that does so has failed.
    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "router" {
      driver = var.driver

      # A token of Consul's, for as long as the task lives.
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
      # Public keys are read again when they change; only a new private key needs
      # a new start.
      template {
        destination = "secrets/ticket-keys.pem"
        change_mode = "noop"
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ .ticket_keys }}{{ end }}"
      }

      # With it, each session gets a name and password for TURN: turn.nomad.hcl.
      template {
        destination = "secrets/turn.env"
        env         = true
        data        = "{{ with nomadVar \"nomad/jobs/router\" }}{{ with .turn_secret }}NEARCAST_TURN_SECRET={{ . | toJSON }}{{ end }}{{ end }}"
      }

      config {
        command = var.binary
        args    = concat(["router"], var.options)
      }
      env {
        NEARCAST_LISTEN     = "${NOMAD_IP_http}:${NOMAD_PORT_http}"
        NEARCAST_URL        = var.url
        NEARCAST_NAME       = "router-${NOMAD_SHORT_ALLOC_ID}"
        NEARCAST_TICKET_KEY = "${NOMAD_SECRETS_DIR}/ticket-key.pem"
      }

      resources {
        cpu    = 500
        memory = 128 # 20 MB at rest
      }
      kill_timeout = "10s"
    }
  }
}
