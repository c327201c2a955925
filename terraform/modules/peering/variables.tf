variable "name" {
  type = string
}

variable "a" {
  description = "The site that asks. cidr is its private subnets as one network."
  type = object({
    region          = string
    vpc_id          = string
    cidr            = string
    route_table_ids = list(string)
    server_group_id = string
  })
}

variable "b" {
  description = "The site that is asked."
  type = object({
    region          = string
    vpc_id          = string
    cidr            = string
    route_table_ids = list(string)
    server_group_id = string
  })
}
