# A game with sound: Neverball. Tilt the floor to roll the ball through a maze.
#
#   nomad job run neverball.nomad.hcl
#
# Nodes need the package "neverball". viewer.nomad.hcl explains what both jobs
# have in common; the comments here are about what a game needs beyond that.

variable "warm" {
  type        = number
  default     = 0
  description = "seats that a site keeps ready, so that nobody waits"
}

variable "max" {
  type        = number
  default     = 2
  description = "seats that a site may have, in use or ready"
}

variable "node_pool" {
  type        = string
  default     = "all"
  description = "where seats may run: stream-cpu, stream-gpu, or all nodes that have the stream driver"
}

job "neverball" {
  namespace   = "apps"
  type        = "batch"
  datacenters = ["*"]
  node_pool   = var.node_pool
  parameterized {}

  meta {
    title       = "Neverball"
    picture     = "/assets/pictures/neverball.jpg"
    description = "Tilt the floor with the mouse, roll the ball to the goal, mind the clock."
    access      = "public" # everybody may play; without this line, those with a launch token
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

      # The game keeps its settings below HOME, which each seat has for itself:
      # every session starts with these settings, and nobody sees another
      # person's scores.
      template {
        destination = "local/neverballrc"
        data        = <<-EOF
          fullscreen 0
          width 1280
          height 720
          player Guest
        EOF
      }

      config {
        command = "/bin/sh"
        args = ["-c", <<-EOF
          mkdir -p "$HOME/.neverball"
          cp "$NOMAD_TASK_DIR/neverballrc" "$HOME/.neverball/"
          exec /usr/games/neverball
        EOF
        ]

        display {
          width  = 1280
          height = 720
          fps    = 30
          # The game grabs the mouse and reads relative movement: with an absolute
          # pointer its menus work, but its floor never tilts.
          pointer = "relative"
        }
        video {
          bitrate = "8Mbps" # everything moves
        }
        audio = true

        idle_timeout = "5m"
        max_duration = "1h"
      }

      resources {
        cpu    = 2500
        memory = 768
      }
      kill_timeout = "10s"
    }
  }
}
