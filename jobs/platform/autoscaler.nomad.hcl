# The autoscaler of a site runs as many stream nodes as seats need, with room for more.
# It is HashiCorp's nomad-autoscaler, with one policy for each pool of stream nodes.
#
#   nomad job run -var 'pools={"stream-cpu":{"group":"nearcast-stream-cpu","min":1,"max":10}}' autoscaler.nomad.hcl
#
# The load of a pool is the CPU and memory of its nodes that seats reserve, warm seats
# included. If less than the headroom is free, the autoscaler adds a node. If one node
# less would still leave the headroom, it removes an empty node, if there is one. It
# never removes a node with a seat, so no session ends. Nomad fills nodes with seats
# first, so other nodes become empty.
#
# It needs:
#   - stream nodes whose node_class is the name of their pool, because the query for a
#     pool's load selects nodes by class;
#   - at least one node in the pool, so min is at least 1: an empty pool has no load;
#   - on server nodes, an instance profile that allows DescribeAutoScalingGroups,
#     DescribeScalingActivities, DescribeInstanceRefreshes, UpdateAutoScalingGroup,
#     TerminateInstanceInAutoScalingGroup and CreateOrUpdateTags;
#   - in Nomad, the rights of acl/nomad/autoscaler.hcl; in Consul none.
# While a node of a pool drains or starts, the autoscaler does not change the pool.
#
# Tested with a real Nomad under its policy and a stand-in for EC2 Auto Scaling, up to the
# request for one more node. Not run: AWS itself, and the removal of a node, which needs
# Nomad on EC2.

variable "pools" {
  type = map(object({
    group = string # auto scaling group
    min   = number # of nodes, within the limits of the group
    max   = number
  }))
  default = {
    stream-cpu = { group = "nearcast-stream-cpu", min = 1, max = 10 }
    stream-gpu = { group = "nearcast-stream-gpu", min = 1, max = 4 }
  }
  description = "pools of stream nodes by name, which is also the node_class of their nodes (terraform output: sites, groups)"
}

variable "headroom" {
  type        = number
  default     = 30
  description = "percent of a pool's CPU and memory that stays free: room for seats until another node is ready"
}

variable "cooldown" {
  type        = string
  default     = "5m"
  description = "wait after a change; as long as a new node needs to be ready, because until then it counts as full"
}

variable "interval" {
  type        = string
  default     = "15s"
  description = "time between two checks of a pool"
}

variable "aws_region" {
  type        = string
  default     = ""
  description = "region of the groups; empty: the site's name"
}

variable "node_pool" {
  type        = string
  default     = "server"
  description = "node pool of the autoscaler"
}

variable "driver" {
  type        = string
  default     = "exec"
  description = "exec; raw_exec if the client cannot isolate tasks"
}

variable "binary" {
  type        = string
  default     = "/usr/local/bin/nomad-autoscaler"
  description = "path of nomad-autoscaler on the nodes"
}

variable "log_level" {
  type        = string
  default     = "info"
  description = "log level; debug logs each check of a pool"
}

variable "environment" {
  type        = map(string)
  default     = {}
  description = "more environment variables of the process, such as AWS_ENDPOINT_URL or HTTPS_PROXY"
}

job "autoscaler" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  # Never two at a time: they would not know of each other.
  update {
    max_parallel      = 1
    min_healthy_time  = "5s"
    healthy_deadline  = "2m"
    progress_deadline = "0"
    auto_revert       = true
  }

  group "autoscaler" {
    count = 1

    network {
      port "http" {}
    }

    service {
      name     = "autoscaler"
      provider = "nomad"
      port     = "http"
      check {
        type     = "http"
        path     = "/v1/health"
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

    task "autoscaler" {
      driver = var.driver

      # A Nomad token that is valid while the task runs.
      identity {
        env = true
      }

      template {
        destination = "local/agent.hcl"
        data        = <<-EOT
          http {
            bind_address = "{{ env "NOMAD_IP_http" }}"
            bind_port    = {{ env "NOMAD_PORT_http" }}
          }
          telemetry {
            prometheus_metrics = true
            disable_hostname   = true
          }
          # Policies are the files below. It scales no job: the brain starts and stops
          # seats.
          policy {
            dir = "{{ env "NOMAD_TASK_DIR" }}/policies"
            source "nomad" {
              enabled = false
            }
          }
          target "aws-asg" {
            driver = "aws-asg"
            config = {
              aws_region = "${var.aws_region != "" ? var.aws_region : "{{ env \"NOMAD_REGION\" }}"}"
            }
          }
        EOT
      }

      dynamic "template" {
        for_each = var.pools
        content {
          destination = "local/policies/${template.key}.hcl"
          data        = <<-EOT
            scaling "${template.key}" {
              enabled = true
              type    = "cluster"
              min     = ${template.value.min}
              max     = ${template.value.max}

              policy {
                cooldown            = "${var.cooldown}"
                evaluation_interval = "${var.interval}"
                # With only one of the two values it must not remove a node.
                on_check_error      = "fail"

                check "cpu" {
                  source = "nomad-apm"
                  query  = "node_percentage-allocated_cpu/${template.key}/class"
                  strategy "target-value" {
                    target         = "${100 - var.headroom}"
                    threshold      = "0.05"
                    max_scale_down = "1"
                  }
                }
                check "memory" {
                  source = "nomad-apm"
                  query  = "node_percentage-allocated_memory/${template.key}/class"
                  strategy "target-value" {
                    target         = "${100 - var.headroom}"
                    threshold      = "0.05"
                    max_scale_down = "1"
                  }
                }

                target "aws-asg" {
                  aws_asg_name           = "${template.value.group}"
                  node_class             = "${template.key}"
                  node_selector_strategy = "empty_ignore_system"
                  # For a seat that was placed after the node was chosen.
                  node_drain_deadline    = "1h"
                }
              }
            }
          EOT
        }
      }

      config {
        command = var.binary
        args    = ["agent", "-log-level=${var.log_level}", "-config=${NOMAD_TASK_DIR}/agent.hcl"]
      }
      env = merge({
        # The task's socket of Nomad's API, on any node.
        NOMAD_ADDR = "unix://${NOMAD_SECRETS_DIR}/api.sock"
      }, var.environment)

      resources {
        cpu    = 100
        memory = 128 # 35 MB at rest
      }
      kill_timeout = "10s"
    }
  }
}
