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
  description = "The release's file."
  type        = string
}
