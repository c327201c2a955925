variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "force_destroy" {
  type = bool
}

variable "release" {
  description = "File that nodes are set up from."
  type        = string
}
