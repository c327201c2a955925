# TURN for people whose network blocks outgoing UDP: coturn, on edge nodes.
#
#   secret=$(openssl rand -hex 32)
#   nomad var put nomad/jobs/turn secret=$secret
#   nomad job run -var realm=play.example turn.nomad.hcl
#   nomad var put -force nomad/jobs/router … turn_secret=$secret
#   nomad job run -var 'options=["--turn=turn:turn.eu-west-1.play.example:3478", "--turn=turn:turn.eu-west-1.play.example:3478?transport=tcp"]' … router.nomad.hcl
#
# Routers derive a name and password from the secret for each session, valid for a day, so
# coturn needs no list of users. To change the secret, store the old one as "previous" next
# to the new "secret", give routers the new one, and remove "previous" a day later. Each
# change restarts coturn: people whose packets it relays connect again.
#
# It needs Debian's package coturn on the nodes, without its own service (systemctl mask
# coturn). In Consul it has no rights, and in Nomad only its own variable.

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

variable "port" {
  type        = number
  default     = 3478
  description = "fixed UDP and TCP port on edge nodes, for a load balancer; 0: any"
}

variable "tls_port" {
  type        = number
  default     = 0
  description = "port for TLS and DTLS, usually 5349; needs tls_cert and tls_key, as PEM, in the variable nomad/jobs/turn; 0: none"
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

variable "allowed_peers" {
  type        = list(string)
  default     = []
  description = "private addresses or ranges (10.0.0.5, 10.0.1.0-10.0.1.255) of seats, if they have no public address"
}

variable "user_quota" {
  type        = number
  default     = 16
  description = "relays of one session: a browser requests one for each of its networks and each URL, and again when it reconnects"
}

variable "total_quota" {
  type        = number
  default     = 1000
  description = "relays of one server; each uses a relay port"
}

variable "session_rate" {
  type        = number
  default     = 5000000
  description = "bytes a second of a relay in each direction; the default is 40 Mbit/s"
}

variable "total_rate" {
  type        = number
  default     = 0
  description = "bytes a second of a server; 0: as much as its network carries"
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
  default     = "/usr/bin/turnserver"
  description = "path of coturn on the nodes"
}

variable "options" {
  type        = list(string)
  default     = []
  description = "more lines of turnserver.conf"
}

locals {
  # A person can ask a relay to send packets to any address. Seats have public addresses;
  # private ones (agents, metadata, other machines of the network) must not be peers.
  # coturn has no single range for them.
  denied_peers = [
    "0.0.0.0-0.255.255.255",
    "10.0.0.0-10.255.255.255",
    "100.64.0.0-100.127.255.255",
    "127.0.0.0-127.255.255.255",
    "169.254.0.0-169.254.255.255",
    "172.16.0.0-172.31.255.255",
    "192.0.0.0-192.0.0.255",
    "192.0.2.0-192.0.2.255",
    "192.88.99.0-192.88.99.255",
    "192.168.0.0-192.168.255.255",
    "198.18.0.0-198.19.255.255",
    "198.51.100.0-198.51.100.255",
    "203.0.113.0-203.0.113.255",
    "224.0.0.0-255.255.255.255",
    # No IPv6: relays have none. (A range from :: would include all of IPv4.)
    "::1-ffff:ffff:ffff:ffff:ffff:ffff:ffff:ffff",
  ]
  relay_ports = split("-", var.relay_ports)

  settings = concat(
    [
      "realm=${var.realm}",
      "fingerprint",
      "use-auth-secret",
      "stale-nonce=600",
      "min-port=${local.relay_ports[0]}",
      "max-port=${local.relay_ports[1]}",
      "user-quota=${var.user_quota}",
      "total-quota=${var.total_quota}",
      "max-bps=${var.session_rate}",
      "bps-capacity=${var.total_rate}",
      # Relay UDP only.
      "no-tcp-relay",
      "no-multicast-peers",
      "no-rfc5780",
      "no-stun-backward-compatibility",
      "no-software-attribute",
      "no-cli",
      "log-file=stdout",
      "new-log-timestamp",
    ],
    [for range in local.denied_peers : "denied-peer-ip=${range}"],
    [for range in var.allowed_peers : "allowed-peer-ip=${range}"],
    var.tls_port > 0 ? [] : ["no-tls", "no-dtls"],
    var.options,
  )
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
        type     = "tcp"
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

      template {
        destination = "secrets/turnserver.conf"
        perms       = "0400"
        uid         = 65534 # nobody: exec runs tasks as this Unix user
        gid         = 65534
        splay       = "30s"
        data        = <<-EOT
          listening-ip={{ env "NOMAD_IP_turn" }}
          listening-port={{ env "NOMAD_PORT_turn" }}
          relay-ip={{ env "NOMAD_IP_turn" }}
          {{- with env "EXTERNAL_IP" }}{{ if . | regexMatch "^[0-9.]+$" }}
          external-ip={{ . }}/{{ env "NOMAD_IP_turn" }}
          {{- end }}{{ end }}
          userdb={{ env "NOMAD_TASK_DIR" }}/turndb
          pidfile={{ env "NOMAD_TASK_DIR" }}/pid
          ${join("\n", local.settings)}
          {{- with nomadVar "nomad/jobs/turn" }}{{ with .secret }}
          static-auth-secret={{ . }}
          {{- end }}{{ with .previous }}
          static-auth-secret={{ . }}
          {{- end }}{{ end }}
          {{- if env "NOMAD_PORT_tls" }}
          tls-listening-port={{ env "NOMAD_PORT_tls" }}
          cert={{ env "NOMAD_SECRETS_DIR" }}/tls.pem
          pkey={{ env "NOMAD_SECRETS_DIR" }}/tls.pem
          {{- end }}
        EOT
      }
      # Certificate and key in one file, which coturn reads again when it changes.
      dynamic "template" {
        for_each = var.tls_port > 0 ? [true] : []
        content {
          destination   = "secrets/tls.pem"
          perms         = "0400"
          uid           = 65534
          gid           = 65534
          change_mode   = "signal"
          change_signal = "SIGUSR2"
          data          = "{{ with nomadVar \"nomad/jobs/turn\" }}{{ .tls_cert }}\n{{ .tls_key }}\n{{ end }}"
        }
      }

      config {
        command = var.binary
        args    = ["-c", "${NOMAD_SECRETS_DIR}/turnserver.conf"]
      }
      env {
        EXTERNAL_IP = var.external_ip != "" ? var.external_ip : "${attr.unique.platform.aws.public-ipv4}"
      }

      resources {
        cpu    = 500
        memory = 128 # 15 MB at rest
      }
      kill_timeout = "10s"
    }
  }
}
