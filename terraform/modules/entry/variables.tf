variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "primary" {
  type = bool
}

variable "domain" {
  type = string
}

variable "zone_id" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "subnet_ids" {
  type = list(string)
}

variable "security_group_id" {
  type = string
}

variable "service_ports" {
  description = "Ports of router and brain on edge nodes."
  type        = map(number)
}

variable "certificate_arn" {
  description = "Null: make one, validated by DNS."
  type        = string
}

variable "turn" {
  type = bool
}

variable "one_balancer" {
  type = bool
}

variable "brain_port" {
  description = "Of the brains, with one_balancer."
  type        = number
}
