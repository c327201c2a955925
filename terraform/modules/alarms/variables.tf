variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "email" {
  type = string
}

variable "groups" {
  description = "Auto scaling groups by role."
  type        = map(string)
}

variable "edge_nodes" {
  type = number
}

variable "pools" {
  description = "Maximum number of nodes of each pool."
  type        = map(number)
}

variable "balancers" {
  type = map(object({ balancer = string, targets = string }))
}

variable "health_check_id" {
  type = string
}

variable "global_topic_arn" {
  description = "Topic in us-east-1, for metrics that exist only there."
  type        = string
}
