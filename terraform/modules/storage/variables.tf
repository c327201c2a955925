variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "force_destroy" {
  type = bool
}

variable "bundles" {
  description = "Archives that hosts are set up from, by their folder in the system bucket."
  type        = map(object({ path = string, sha256 = string }))
}
