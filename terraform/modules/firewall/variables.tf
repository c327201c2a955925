variable "name" {
  type = string
}

variable "region" {
  type = string
}

variable "vpc_id" {
  type = string
}

variable "service_ports" {
  description = "Ports of the services on edge nodes."
  type        = map(number)
}

variable "internal_ports" {
  description = "Ports of the services for the site's own processes."
  type        = map(number)
}

variable "brain_port" {
  description = "Of brains at the load balancer; null: 443."
  type        = number
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
