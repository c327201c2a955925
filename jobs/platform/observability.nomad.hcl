# Prometheus of a site, with alerts and, where it is installed, Grafana with dashboards.
#
#   systemctl mask prometheus                              # on the node: Debian's own server listens on
#   apt-get install --no-install-recommends prometheus     # all addresses; Debian 12 has 2.42
#   nomad job run observability.nomad.hcl                  # in this folder: it reads files here
#
# Nomad finds routers and brains in Consul, and Prometheus scrapes their internal listeners, so it has to
# run where those are reached: on an edge node, or a server node that the site's firewall lets through.
# It listens on the node's private address, without a password. What it has is in its allocation's
# directory: a new allocation on another node begins anew.
#
# It does not send alerts. Name an Alertmanager in alertmanager, as host:port. Each alert has a
# heading in docs/RUNBOOKS.md.
#
# Grafana is in no Debian release. Install it from its makers, and name its home folder in grafana.
#
# Tested: the configuration, alerts and every query of the dashboards with Prometheus 2.42, and
# real routers and brains in a real Consul. Not run: Grafana, and the whole job under Consul's ACLs.

variable "retention" {
  type        = string
  default     = "15d"
  description = "how long Prometheus keeps what it has scraped"
}

variable "alertmanager" {
  type        = string
  default     = ""
  description = "host:port of an Alertmanager; empty: alerts are on the page /alerts alone"
}

variable "grafana" {
  type        = string
  default     = ""
  description = "home folder of Grafana on the node, such as /usr/share/grafana; empty: none"
}

variable "binary" {
  type        = string
  default     = "/usr/bin/prometheus"
  description = "path of prometheus on the node"
}

variable "acl" {
  type        = bool
  default     = true
  description = "Consul has ACLs, and knows Nomad's identities (acl/apply.sh)"
}

variable "node_pool" {
  type        = string
  default     = "edge"
  description = "node pool of Prometheus"
}

variable "driver" {
  type        = string
  default     = "exec"
  description = "exec; raw_exec if the client cannot isolate tasks"
}

job "observability" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  group "observability" {
    count = 1

    ephemeral_disk {
      size    = 4000
      sticky  = true
      migrate = true
    }

    network {
      port "prometheus" {}
      port "grafana" {}
    }

    service {
      name     = "prometheus"
      provider = "nomad"
      port     = "prometheus"
      check {
        type     = "http"
        path     = "/-/ready"
        interval = "10s"
        timeout  = "2s"
      }
    }

    restart {
      attempts = 5
      interval = "1m"
      delay    = "1s"
      mode     = "fail"
    }

    task "prometheus" {
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
        destination     = "local/prometheus.yml"
        left_delimiter  = "[["
        right_delimiter = "]]"
        data = var.alertmanager == "" ? file("observability/prometheus.yml") : join("\n", [
          file("observability/prometheus.yml"), "alerting:", "  alertmanagers:", "    - static_configs:", "        - targets: [\"${var.alertmanager}\"]", "",
        ])
      }
      template {
        destination     = "local/alerts.yml"
        left_delimiter  = "[["
        right_delimiter = "]]"
        data            = file("observability/alerts.yml")
      }
      # Prometheus reads it again when it changes.
      template {
        destination = "local/targets.yml"
        change_mode = "noop"
        data        = file("observability/targets.yml.tmpl")
      }

      config {
        command = var.binary
        args = [
          "--config.file=${NOMAD_TASK_DIR}/prometheus.yml", "--storage.tsdb.path=${NOMAD_ALLOC_DIR}/data/prometheus",
          "--storage.tsdb.retention.time=${var.retention}", "--web.listen-address=${NOMAD_ADDR_prometheus}", "--log.format=json",
        ]
      }

      resources {
        cpu    = 300
        memory = 512
      }
    }

    dynamic "task" {
      for_each = var.grafana == "" ? [] : ["grafana"]
      labels   = [task.value]
      content {
        driver = var.driver

        dynamic "template" {
          for_each = { sessions = file("observability/sessions.json"), site = file("observability/site.json") }
          content {
            destination     = "local/dashboards/${template.key}.json"
            left_delimiter  = "[["
            right_delimiter = "]]"
            data            = template.value
          }
        }
        template {
          destination = "local/provisioning/dashboards/nearcast.yml"
          data        = <<-EOT
            apiVersion: 1
            providers:
              - name: nearcast
                type: file
                options: { path: "{{ env "NOMAD_TASK_DIR" }}/dashboards" }
          EOT
        }
        template {
          destination = "local/provisioning/datasources/nearcast.yml"
          data        = <<-EOT
            apiVersion: 1
            datasources:
              - name: nearcast
                uid: nearcast
                type: prometheus
                access: proxy
                isDefault: true
                url: "http://{{ env "NOMAD_ADDR_prometheus" }}"
          EOT
        }

        config {
          command = "${var.grafana}/bin/grafana"
          args    = ["server", "--homepath=${var.grafana}"]
        }
        env {
          GF_SERVER_HTTP_ADDR   = "${NOMAD_IP_grafana}"
          GF_SERVER_HTTP_PORT   = "${NOMAD_PORT_grafana}"
          GF_PATHS_DATA         = "${NOMAD_ALLOC_DIR}/data/grafana"
          GF_PATHS_PROVISIONING = "${NOMAD_TASK_DIR}/provisioning"
        }

        resources {
          cpu    = 200
          memory = 256
        }
      }
    }
  }
}
