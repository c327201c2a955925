variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "role" {
  description = "server, edge, stream-cpu or stream-gpu. The part before the hyphen is the role for install.sh."
  type        = string
}

variable "image" {
  type = object({ id = string, root_device = string })
}

variable "instance_types" {
  type = list(string)
}

variable "min" {
  type = number
}

variable "max" {
  type = number
}

variable "on_demand_base" {
  type    = number
  default = 0
}

variable "spot_percent" {
  type    = number
  default = 0
}

variable "protected" {
  description = "Whether nodes have scale-in protection: the group ends none to become smaller, as people play on them."
  type        = bool
  default     = false
}

variable "subnet_ids" {
  type = list(string)
}

variable "security_group_ids" {
  type = list(string)
}

variable "public" {
  description = "Whether nodes have public addresses."
  type        = bool
  default     = false
}

variable "target_group_arns" {
  type    = list(string)
  default = []
}

variable "root_gib" {
  type = number
}

variable "cache_gib" {
  description = "Size of a second volume; 0: none."
  type        = number
  default     = 0
}

variable "drain_seconds" {
  description = "How long the hook waits for a node to end; longer with heartbeats."
  type        = number
}

variable "release" {
  description = "Archive that user data downloads, checks and unpacks, to run its install.sh."
  type        = object({ bucket = string, key = string, version = string, sha256 = string })
}

variable "system_bucket_arn" {
  type = string
}

variable "join_regions" {
  description = "Regions in which nodes look for servers."
  type        = list(string)
}

variable "secret_arns" {
  description = "Secrets that nodes read."
  type        = list(string)
}

variable "statements" {
  description = "More rights of nodes, as IAM policy statements."
  type        = any
  default     = []
}

variable "env" {
  description = "Environment for install.sh, without role, group and hook."
  type        = map(string)
}

variable "tags" {
  type = map(string)
}

variable "group_tags" {
  description = "Tags by which others find the members of the group."
  type        = map(string)
  default     = {}
}
