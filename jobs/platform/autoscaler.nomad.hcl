# The autoscaler of a site: as many stream nodes as its seats need, and room for
# more. HashiCorp's nomad-autoscaler, one policy for each pool of stream nodes.
#
#   nomad job run -var 'pools={"stream-cpu":{"group":"nearcast-stream-cpu","min":1,"max":10}}' autoscaler.nomad.hcl
#
# A pool is as full as what its seats reserve of the nodes' CPU and memory, warm
# seats included. When less than the headroom is left, a node is added; when more
# is left than a node less would leave, a node is taken, if one is empty. A node
# with a seat on it is never taken, so no session ends; Nomad fills nodes that have
# seats first, so nodes do become empty.
#
# What it needs:
#   - stream nodes whose node_class is the name of their pool: the query for a
#     pool's load goes by class alone;
#   - a node in the pool: nothing is known of the load of none, so min is at least 1;
#   - on server nodes, an instance profile that may DescribeAutoScalingGroups,
#     DescribeScalingActivities, DescribeInstanceRefreshes, UpdateAutoScalingGroup,
#     TerminateInstanceInAutoScalingGroup and CreateOrUpdateTags;
#   - in Nomad, what acl/nomad/autoscaler.hcl says; in Consul nothing.
# While a node of a pool drains, or starts, that pool is left as it is.
#
# Tested with a real Nomad under its policy, and something that answers like EC2
# Auto Scaling, up to the wish for one node more. Not run: AWS itself, and taking a
# node, for which Nomad has to be on EC2.

variable "pools" {
  type = map(object({
    group = string # Auto Scaling group
    min   = number # nodes, within those of the group
    max   = number
  }))
  default = {
    stream-cpu = { group = "nearcast-stream-cpu", min = 1, max = 10 }
    stream-gpu = { group = "nearcast-stream-gpu", min = 1, max = 4 }
  }
  description = "pools of stream nodes by name, which is also their node_class (terraform: sites, groups)"
}

variable "headroom" {
  type        = number
  default     = 30
  description = "percent of a pool's CPU and memory that no seat has reserved: room for seats until another node is there"
}

variable "cooldown" {
  type        = string
  default     = "5m"
  description = "after a change: as long as a new node takes to be ready, or it is counted as if it were full"
}

variable "interval" {
  type        = string
  default     = "15s"
  description = "how often a pool is looked at"
}

variable "aws_region" {
  type        = string
  default     = ""
  description = "of the groups; empty: the site's name"
}

variable "node_pool" {
  type        = string
  default     = "server"
  description = "where it runs"
}

variable "driver" {
  type        = string
  default     = "exec"
  description = "exec, or raw_exec where the client cannot isolate"
}

variable "binary" {
  type        = string
  default     = "/usr/local/bin/nomad-autoscaler"
  description = "nomad-autoscaler on the nodes"
}

variable "log_level" {
  type        = string
  default     = "info"
  description = "debug tells of each look at a pool"
}

variable "environment" {
  type        = map(string)
  default     = {}
  description = "more variables of the process: AWS_ENDPOINT_URL, HTTPS_PROXY"
}

job "autoscaler" {
  type        = "service"
  datacenters = ["*"]
  node_pool   = var.node_pool

  # One, never two: they would not know of each other.
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

      # A token of Nomad's, for as long as the task lives.
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
          # Policies are the files below. Jobs do not scale here: the brain has
          # seats started and stopped.
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
                # Half of the truth is no ground to take a node.
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
                  # For the seat that came while the node was being chosen.
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
        # The task's own way to Nomad's API, on any node.
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
