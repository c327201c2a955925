variable "name" {
  type = string
}

variable "a" {
  description = "The site that requests the connection. cidr is its private subnets as one network."
  type = object({
    region          = string
    vpc_id          = string
    cidr            = string
    route_table_ids = list(string)
    wan_group_id    = string
  })
}

variable "b" {
  description = "The site that accepts it."
  type = object({
    region          = string
    vpc_id          = string
    cidr            = string
    route_table_ids = list(string)
    wan_group_id    = string
  })
}
