# TURN for people whose network blocks outgoing UDP: nearcast turn, on edge nodes.
#
#   secret=$(openssl rand -hex 32)
#   nomad var put nomad/jobs/turn secret=$secret
#   nomad job run -var realm=play.example turn.nomad.hcl
#   nomad var put -force nomad/jobs/brain … turn_secret=$secret
#   nomad job run -var 'options=["--turn=turn:turn.eu-west-1.play.example:3478", "--turn=turn:turn.eu-west-1.play.example:3478?transport=tcp", "--turn=turns:turn.eu-west-1.play.example:443?transport=tcp"]' … brain.nomad.hcl
#
# Brains make a name and a password from the secret for each person, good for ten minutes,
# and renew them. Relays reach the seats of the site and nothing else. To change the
# secret, store the old one as "previous" next to the new "secret", give brains the new
# one, and remove "previous" ten minutes later. Each change restarts the servers: people
# whose packets they relay connect again.
#
# On AWS the load balancer of turn.SITE ends TLS at port 443. Where none does, leave out the
# URL with turns:, or have the servers do it: store tls_cert and tls_key, as PEM, in the
# variable nomad/jobs/turn, and run the job with -var tls_port=443, on nodes whose port 443 is
# free at this address, or with another port. A new certificate needs no restart.
#
# Its rights in Consul are in acl/consul/turn.hcl; it has none in Nomad but its own variable.

variable "realm" {
  type        = string
  default     = "nearcast"
  description = "realm of the passwords: the cluster's name"
}

variable "count" {
  type        = number
  default     = 2
  description = "number of TURN servers"
}

variable "internal_port" {
  type        = number
  default     = 0
  description = "fixed port on edge nodes for the site's own processes (metrics), which the site's firewall opens for edge nodes alone; 0: any"
}

variable "port" {
  type        = number
  default     = 3478
  description = "fixed UDP and TCP port on edge nodes, for a load balancer; 0: any"
}

variable "tls_port" {
  type        = number
  default     = 0
  description = "port for TLS on the nodes themselves, 443 or 5349; 0: none"
}

variable "relay_ports" {
  type        = string
  default     = "21000-21999"
  description = "UDP ports that seats reach: one for each relayed person (terraform: turn_ports)"
}

variable "external_ip" {
  type        = string
  default     = ""
  description = "address at which seats reach the relay ports, if no interface of the node has it; empty: EC2's public address, else the node's own"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "node pool of TURN"
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
  description = "more options of nearcast turn, such as --max-relays=500 or --relay-rate=2500000"
}

job "turn" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  update {
    max_parallel     = 1
    canary           = 1
    min_healthy_time = "5s"
    healthy_deadline = "2m"
    # The first instance that cannot run fails the deployment.
    progress_deadline = "0"
    auto_promote      = true
    auto_revert       = true
  }

  group "turn" {
    count = var.count

    # A node has the port only once.
    constraint {
      distinct_hosts = true
    }

    network {
      port "turn" {
        static = var.port
      }
      port "internal" {
        static = var.internal_port
      }
      dynamic "port" {
        for_each = var.tls_port > 0 ? [var.tls_port] : []
        labels   = ["tls"]
        content {
          static = port.value
        }
      }
    }

    service {
      name     = "turn"
      provider = "nomad"
      port     = "turn"
      check {
        type     = "http"
        port     = "internal"
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

    task "turn" {
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
        destination = "secrets/turn.env"
        env         = true
        splay       = "30s"
        data        = <<-EOT
          {{- with nomadVar "nomad/jobs/turn" }}
          NEARCAST_SECRET={{ .secret | toJSON }}
          {{- with .previous }}
          NEARCAST_PREVIOUS_SECRET={{ . | toJSON }}
          {{- end }}{{ end }}
          {{- with env "EXTERNAL_IP" }}{{ if . | regexMatch "^[0-9.]+$" }}
          NEARCAST_EXTERNAL_IP={{ . }}
          {{- end }}{{ end }}
        EOT
      }
      # Certificate and key in one file, which is read again when it changes.
      dynamic "template" {
        for_each = var.tls_port > 0 ? [true] : []
        content {
          destination = "secrets/tls.pem"
          perms       = "0600"
          change_mode = "noop"
          data        = "{{ with nomadVar \"nomad/jobs/turn\" }}{{ .tls_cert }}\n{{ .tls_key }}\n{{ end }}"
        }
      }

      config {
        command = var.binary
        args    = concat(["turn"], var.options)
      }
      env {
        EXTERNAL_IP              = var.external_ip != "" ? var.external_ip : "${attr.unique.platform.aws.public-ipv4}"
        NEARCAST_LISTEN          = "${NOMAD_IP_turn}:${NOMAD_PORT_turn}"
        NEARCAST_INTERNAL_LISTEN = "${NOMAD_IP_internal}:${NOMAD_PORT_internal}"
        NEARCAST_TLS_LISTEN      = var.tls_port > 0 ? "${NOMAD_IP_tls}:${NOMAD_PORT_tls}" : ""
        NEARCAST_TLS_CERT        = "${NOMAD_SECRETS_DIR}/tls.pem"
        NEARCAST_TLS_KEY         = "${NOMAD_SECRETS_DIR}/tls.pem"
        NEARCAST_REALM           = var.realm
        NEARCAST_RELAY_PORTS     = var.relay_ports
      }

      resources {
        cpu    = 500
        memory = 128 # 15 MB at rest
      }
      kill_timeout = "10s"
    }
  }
}
