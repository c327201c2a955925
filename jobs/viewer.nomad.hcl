# A 3D model viewer: F3D, showing one model that comes from an object store.
#
#   nomad job run viewer.nomad.hcl
#   nomad job run -var model=models/mine.glb -var warm=2 viewer.nomad.hcl
#
# To register an app is to run its job; there is no other catalogue. The job
# itself starts nothing: it is parameterized, and the site's brain dispatches it
# once for each seat. Every option of the task is in docs/DRIVER.md.
#
# Commands that name the job need the namespace: nomad job status -namespace=apps viewer

variable "bucket" {
  type        = string
  default     = "nearcast-content"
  description = "where the model is"
}

variable "model" {
  type        = string
  default     = "models/engine.glb"
  description = "the model's key in the bucket: glTF, OBJ, STL, PLY, STEP …"
}

variable "warm" {
  type        = number
  default     = 1
  description = "seats that a site keeps ready, so that nobody waits"
}

variable "max" {
  type        = number
  default     = 4
  description = "seats that a site may have, in use or ready"
}

variable "node_pool" {
  type        = string
  default     = "all"
  description = "where seats may run: stream-cpu, stream-gpu, or all nodes that have the stream driver"
}

locals {
  # The model's name keeps its ending, by which the viewer knows the format. Not
  # by basename(): Nomad's API and UI do not have it, only the command line does.
  path = split("/", var.model)
  file = local.path[length(local.path) - 1]
}

job "viewer" {
  # Where publishers' jobs are. Nomad runs only the driver "stream" there.
  namespace = "apps"
  # A seat serves one session and ends: a batch job, run anew for each.
  type        = "batch"
  datacenters = ["*"]
  node_pool   = var.node_pool
  parameterized {}

  # What the home page shows, and what brains need to know.
  meta {
    title       = "Model viewer"
    picture     = "/assets/pictures/viewer.jpg"
    description = "A two-cylinder engine. Drag to turn it, scroll to come closer."
    access      = "public" # everybody may play; without this line, those with a launch token
    warm        = var.warm
    max         = var.max
  }

  group "seat" {
    # A seat that failed is not restarted: the brain dispatches a new one.
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
        command = "f3d"
        args = [
          "--resolution=1280,720",
          "--bg-color=0.13,0.14,0.17",
          "--grid", "--axis",
          "--tone-mapping", "--fxaa",
          # Free rotation; the first view is slightly from the side.
          "--trackball",
          "--camera-azimuth-angle=35", "--camera-elevation-angle=25", "--camera-view-angle=20",
          "local/${local.file}",
        ]

        # Downloaded once for each node, and kept in its cache for later seats.
        content {
          source      = "s3://${var.bucket}/${var.model}"
          destination = "local/${local.file}"
        }

        display {
          width  = 1280
          height = 720
          fps    = 30
        }
        audio = false

        idle_timeout = "10m"
        max_duration = "2h"
      }

      resources {
        cpu    = 1500 # MHz: drawing without a GPU, and encoding
        memory = 768  # MB: display, viewer with its model, stream host
      }
      # For deregistering and ending the app in order.
      kill_timeout = "10s"
    }
  }
}
