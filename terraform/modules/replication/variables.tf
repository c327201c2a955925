variable "name" {
  type = string
}

variable "region" {
  description = "Region of the source."
  type        = string
}

variable "source_bucket" {
  type = object({ name = string, arn = string })
}

variable "destinations" {
  description = "Buckets by region."
  type        = map(object({ name = string, arn = string }))
}

variable "topic_arn" {
  type = string
}
