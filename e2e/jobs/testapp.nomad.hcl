# The test app, made to behave or misbehave: each test runs it under a name of
# its own, so that no test waits for another's seats.

variable "name" {}
variable "testapp" {} # path of the binary
variable "command" { default = "" }
variable "args" { default = "-fps 30" }
variable "script" { default = "" } # in place of args: what the command gets after -c
variable "params" { default = "" }
variable "start" { default = "ready" }
variable "content" { default = "" } # s3://…
variable "content_as" { default = "local/content" }
variable "sha256" { default = "" }
variable "access" { default = "public" }
variable "warm" { default = "1" }
variable "max" { default = "3" }
variable "width" { default = "1280" }
variable "height" { default = "720" }
variable "fps" { default = "30" }
variable "codec" { default = "h264" }
variable "bitrate" { default = "6Mbps" }
variable "audio" { default = "false" }
variable "reconnect_grace" { default = "30s" }
variable "idle_timeout" { default = "10m" }
variable "max_duration" { default = "1h" }
variable "start_timeout" { default = "10s" }
variable "display_max" { default = "" } # the display follows the window
variable "touch" { default = "false" }
variable "stills" { default = "none" }
variable "clipboard" { default = "none" }
variable "cpu" { default = "100" }
variable "memory" { default = "128" }

job "testapp" {
  id   = var.name
  name = var.name
  type = "batch"

  namespace   = "apps"
  datacenters = ["*"]

  parameterized {}

  meta {
    title  = "Test app ${var.name}"
    access = var.access
    warm   = var.warm
    max    = var.max
    params = var.params
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

    task "app" {
      driver = "stream"

      config {
        command = var.command != "" ? var.command : var.testapp
        args    = var.script != "" ? ["-c", var.script] : split(" ", var.args)
        start   = var.start

        content = var.content == "" ? [] : [{
          source      = var.content
          destination = var.content_as
          sha256      = var.sha256
        }]

        display {
          width  = var.width
          height = var.height
          fps    = var.fps
          max    = var.display_max
          touch  = var.touch
        }
        video {
          codec   = var.codec
          bitrate = var.bitrate
        }
        audio           = var.audio
        stills          = var.stills
        clipboard       = var.clipboard
        reconnect_grace = var.reconnect_grace
        idle_timeout    = var.idle_timeout
        max_duration    = var.max_duration
        start_timeout   = var.start_timeout
      }

      resources {
        cpu    = var.cpu
        memory = var.memory
      }
    }
  }
}
