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
  description = "Archives that hosts are set up from, by name."
  type        = map(object({ path = string, sha256 = string }))
}
