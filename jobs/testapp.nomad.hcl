# The application that tests and benchmarks stream: dev/testapp, a window that
# changes its colour at each key or button press. It needs no content.
#
#   go build -o /usr/local/bin/testapp ./dev/testapp
#   nomad job run -var testapp=/usr/local/bin/testapp -var 'args=["-size=1280x720"]' testapp.nomad.hcl

variable "testapp" {
  type        = string
  default     = "testapp"
  description = "the program: a path on the node, or a name in PATH"
}

variable "args" {
  type        = list(string)
  default     = ["-size=1280x720"]
  description = "its flags; some make it misbehave in ways a seat must survive"
}

variable "warm" {
  type    = number
  default = 0
}

variable "max" {
  type    = number
  default = 8
}

variable "idle_timeout" {
  type    = string
  default = "10m"
}

variable "node_pool" {
  type        = string
  default     = "all"
  description = "where seats may run: stream-cpu, stream-gpu, or all nodes that have the stream driver"
}

job "testapp" {
  namespace   = "apps"
  type        = "batch"
  datacenters = ["*"]
  node_pool   = var.node_pool
  parameterized {}

  meta {
    title       = "Test app"
    description = "Black, and white after each key or click."
    access      = "public"
    warm        = var.warm
    max         = var.max
  }

  group "seat" {
    restart {
      attempts = 0
      mode     = "fail"
    }
    reschedule {
      attempts  = 0
      unlimited = false
    }

    task "seat" {
      driver = "stream"

      config {
        command = var.testapp
        args    = var.args
        audio   = false
        display {
          width  = 1280
          height = 720
          fps    = 30
        }
        idle_timeout    = var.idle_timeout
        reconnect_grace = "10s"
        start_timeout   = "30s"
      }

      resources {
        cpu    = 500
        memory = 384
      }
      kill_timeout = "5s"
    }
  }
}
