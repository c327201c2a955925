# The console: the page of those who run the sites. One, at one site, shows all of them.
#
#   nomad acl token create -name=console-viewer -global -policy=nearcast-console-viewer …   # for each role
#   nomad var put nomad/jobs/console router_token=… consul_token=… viewer_token=… operator_token=… admin_token=… oidc_client_secret=…
#   nomad job run -var url=https://console.example.com -var 'options=["--oidc-issuer=https://login.example.com",…]' console.nomad.hcl
#
# docs/CONSOLE-SETUP.md goes through it. It needs no right of its own in Nomad: each role of the page has a
# token (acl/nomad/console-*.hcl), and without those it shows no nodes. The tokens are global, made at
# the primary site, and so is that of Consul (acl/consul/console.hcl), by which it reads the nodes of
# other sites.
#
# It serves HTTP on the site's private network: put TLS before it, or reach it by a tunnel with
# -var url=http://localhost:8070 -var port=8070. Logins and the last events are in its memory: a new
# version logs everybody out.

variable "url" {
  type        = string
  default     = ""
  description = "URL of the console for browsers, https://host; http://localhost:PORT for a tunnel"
}

variable "port" {
  type        = number
  default     = 8070
  description = "port on the node, which the site's firewall opens for nobody but the proxy; 0: any"
}

variable "node_pool" {
  type        = string
  default     = "server"
  description = "node pool of the console"
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

variable "acl" {
  type        = bool
  default     = true
  description = "whether Consul has ACLs, and so the task needs a token"
}

variable "options" {
  type        = list(string)
  default     = []
  description = "more options of nearcast console, such as --oidc-issuer=…, --operators=… or --place=…"
}

job "console" {
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

  group "console" {
    count = 1 # logins are in its memory

    network {
      port "http" {
        static = var.port
      }
    }

    # For Nomad's deployments.
    service {
      name     = "console"
      provider = "nomad"
      port     = "http"
      check {
        type     = "http"
        path     = "/healthz"
        interval = "5s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "console" {
      driver = var.driver

      # A Consul token that is valid while the task runs, at this site alone.
      consul {}
      dynamic "identity" {
        for_each = var.acl ? ["consul_default"] : []
        content {
          name = identity.value
          aud  = ["consul.io"]
          ttl  = "1h"
        }
      }

      # What is missing stays empty.
      template {
        destination = "secrets/tokens.env"
        env         = true
        perms       = "0600"
        data        = <<-ENV
          {{ with nomadVar "nomad/jobs/console" }}
          {{ with .router_token }}NEARCAST_ROUTER_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ with .consul_token }}NEARCAST_CONSUL_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ with .viewer_token }}NEARCAST_NOMAD_VIEWER_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ with .operator_token }}NEARCAST_NOMAD_OPERATOR_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ with .admin_token }}NEARCAST_NOMAD_ADMIN_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ with .oidc_client_secret }}NEARCAST_OIDC_CLIENT_SECRET={{ .Value | toJSON }}{{ end }}
          {{ with .token }}NEARCAST_TOKEN={{ .Value | toJSON }}{{ end }}
          {{ end }}
        ENV
      }

      config {
        command = var.binary
        args    = concat(["console"], var.options)
      }
      env {
        NEARCAST_LISTEN = "${NOMAD_IP_http}:${NOMAD_PORT_http}"
        NEARCAST_URL    = var.url
        # Its lines are among those of the log, each with "act".

        NEARCAST_AUDIT_LOG = "-"
        GOMEMLIMIT         = "200MiB"
      }

      resources {
        cpu    = 200
        memory = 256
      }
      kill_timeout = "10s"
    }
  }
}
