# Described and checked in the root's variables.tf.

variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "primary_region" {
  type = string
}

variable "domain" {
  type = string
}

variable "zone_id" {
  type = string
}

variable "cidr" {
  type = string
}

variable "edge_nodes" {
  type = number
}

variable "pools" {
  type = map(object({
    instance_types = list(string)
    min            = number
    max            = number
    on_demand_base = number
    spot_percent   = number
    cache_gib      = number
    local_cache    = bool
    gpu_seats      = number
    packages       = list(string)
  }))
}

variable "images" {
  description = "AMIs by role, in place of the one of image_parameter."
  type        = map(string)
}

variable "backup_region" {
  type = string
}

variable "certificate_arn" {
  type = string
}

variable "one_balancer" {
  type = bool
}

variable "media_ports" {
  type = object({ from = number, to = number })
}

variable "turn" {
  type = bool
}

variable "turn_ports" {
  type = object({ from = number, to = number })
}

variable "server_type" {
  type = string
}

variable "edge_type" {
  type = string
}

variable "nat_per_zone" {
  type = bool
}

variable "image_parameter" {
  type = string
}

variable "image_parameter_arm64" {
  type = string
}

variable "session_manager" {
  type = object({ url = string, sha256 = string })
}

variable "release" {
  type = string
}

variable "release_arm64" {
  type = string
}

variable "alarm_email" {
  type = string
}

variable "global_topic_arn" {
  type = string
}

variable "force_destroy" {
  type = bool
}

variable "tags" {
  type = map(string)
}
