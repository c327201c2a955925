# The autoscaler of a site runs as many stream nodes as people need. It is HashiCorp's
# nomad-autoscaler with the plugin nomad-autoscaler-seats, and has one policy for each pool of
# stream nodes.
#
#   nomad job run -var 'pools={"stream-cpu":{"group":"nearcast-stream-cpu","min":0,"max":10,"seats":8}}' autoscaler.nomad.hcl
#
# It asks the brains how many people play and wait, how many come, and how long they stay, and
# wants as many nodes that at most the share "wait" of those who come waits for a node: see
# docs/CAPACITY.md. It adds nodes also while others start or drain, and starts with a pool of
# none. It removes empty nodes alone. Nomad fills nodes with seats first, so other nodes become
# empty. Where a seat was placed meanwhile, the node drains, and its session has drain_deadline.
#
# It needs:
#   - stream nodes whose node_class is the name of their pool: the target aws-asg selects nodes by
#     class;
#   - on server nodes, an instance profile that allows DescribeAutoScalingGroups,
#     DescribeScalingActivities, DescribeInstanceRefreshes, UpdateAutoScalingGroup,
#     TerminateInstanceInAutoScalingGroup and CreateOrUpdateTags;
#   - in Nomad, the rights of acl/nomad/autoscaler.hcl; in Consul those of acl/consul/autoscaler.hcl;
#   - the brains' internal listeners.
#
# Tested with real Consul, Nomad and brains and a stand-in for EC2 Auto Scaling: under these policies up
# to the request for nodes from zero, and without ACLs up to the first person's seat on the new node.
# Not run: AWS itself, and the removal of a node by this job.

# Of each pool, by its name, which is also the node_class of its nodes:
#   group     auto scaling group
#   min, max  nodes, within the limits of the group; min = 0: none while nobody comes
#   seats     that a node carries, of the largest app; by default seats_per_node
#   wait      share of the people that may wait for a node; by default 1%
#   ready     from the request for a node until it takes people; by default 4m
#   schedule  least numbers of seats, such as "30 16 * * 1-5 6h30m 120 Europe/Berlin": 120 from 16:30 on weekdays
#   jobs      node pools of the jobs whose people count here, separated by commas; by default
#             the pool, and for stream-cpu or an only pool "all"
variable "pools" {
  type = map(map(string))
  default = {
    stream-cpu = { group = "nearcast-stream-cpu", min = 1, max = 10 }
    stream-gpu = { group = "nearcast-stream-gpu", min = 1, max = 4 }
  }
  description = "pools of stream nodes: group, min, max, and what the comment above says (terraform output: sites, groups)"
  validation {
    condition     = length(setunion(["group", "min", "max", "seats", "wait", "ready", "schedule", "jobs"], flatten([for pool in values(var.pools) : keys(pool)]))) == 8
    error_message = "A pool has an unknown key; there are group, min, max, seats, wait, ready, schedule and jobs."
  }
  validation {
    condition     = length([for pool in values(var.pools) : pool if length(setintersection(["group", "min", "max"], keys(pool))) < 3]) == 0
    error_message = "Each pool needs group, min and max."
  }
}

variable "seats_per_node" {
  type        = number
  default     = 4
  description = "seats that a node carries, where the pool does not say it"
}

variable "hold" {
  type        = string
  default     = "5m"
  description = "nodes are removed that were not needed for so long"
}

variable "drain_deadline" {
  type        = string
  default     = "1h"
  description = "how long a session goes on at most that began on a node while the node was chosen to be removed"
}

variable "cooldown" {
  type        = string
  default     = "10s"
  description = "wait after a change; nodes that start count already"
}

variable "interval" {
  type        = string
  default     = "15s"
  description = "time between two checks of a pool"
}

variable "consul" {
  type        = string
  default     = "127.0.0.1:8500"
  description = "address of the node's Consul agent"
}

variable "acl" {
  type        = bool
  default     = true
  description = "Consul has ACLs, and knows Nomad's identities (acl/apply.sh)"
}

variable "plugins" {
  type        = string
  default     = "/usr/local/bin"
  description = "folder of nomad-autoscaler-seats on the nodes"
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
          # The target waits for a node's drain, an hour where a person plays on it. The pool is sized on
          # meanwhile: after ack_timeout, by another worker.
          policy_eval {
            ack_timeout = "15s"
            workers = {
              cluster    = 50
              horizontal = 1
            }
          }
          # Policies are the files below. It scales no job: the brain starts and stops
          # seats.
          policy {
            dir = "{{ env "NOMAD_TASK_DIR" }}/policies"
            source "nomad" {
              enabled = false
            }
          }
          plugin_dir = "${var.plugins}"
          # One program, as two processes.
          apm "seats" {
            driver = "nomad-autoscaler-seats"
            args   = ["apm"]
            config = {
              consul = "${var.consul}"
            }
          }
          strategy "seats" {
            driver = "nomad-autoscaler-seats"
            args   = ["strategy"]
            config = {
              consul = "${var.consul}"
            }
          }
          target "aws-asg" {
            driver = "aws-asg"
            config = {
              # After a request for nodes it looks whether they are listed, 10 s apart. Nodes that drain
              # are listed too, so more tries would only keep the pool waiting.
              retry_attempts = "2"
              aws_region     = "${var.aws_region != "" ? var.aws_region : "{{ env \"NOMAD_REGION\" }}"}"
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
                on_check_error      = "fail"

                check "people" {
                  source = "seats"
                  query  = "${lookup(template.value, "jobs", length(var.pools) == 1 || template.key == "stream-cpu" ? "${template.key},all" : template.key)}"
                  strategy "seats" {
                    min            = "${template.value.min}"
                    max            = "${template.value.max}"
                    node_class     = "${template.key}"
                    seats_per_node = "${lookup(template.value, "seats", var.seats_per_node)}"
                    wait           = "${lookup(template.value, "wait", "1%")}"
                    ready          = "${lookup(template.value, "ready", "4m")}"
                    hold           = "${var.hold}"
                    schedule       = "${lookup(template.value, "schedule", "")}"
                  }
                }

                target "aws-asg" {
                  aws_asg_name           = "${template.value.group}"
                  node_class             = "${template.key}"
                  node_selector_strategy = "empty_ignore_system"
                  # Its scale_in_protection stays false: groups protect all nodes (Terraform), so that only this
                  # target ends them.
                  # Nodes are added while others start, drain or end.
                  node_filter_ignore_init  = "true"
                  node_filter_ignore_drain = "true"
                  ignore_asg_events        = "true"
                  # For a seat that was placed after the node was chosen: its session ends then.
                  node_drain_deadline = "${var.drain_deadline}"
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
        memory = 192 # 35 MB at rest, and its plugins
      }
      kill_timeout = "10s"
    }
  }
}
