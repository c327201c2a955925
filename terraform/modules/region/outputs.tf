output "network" {
  description = "What the connection of another site needs."
  value = {
    region          = var.region
    vpc_id          = module.network.vpc_id
    cidr            = module.network.private_cidr
    route_table_ids = module.network.private_route_table_ids
    wan_group_id    = module.firewall.group_ids["wan"]
  }
}

output "vpc_cidr" {
  value = module.network.cidr
}

output "subnets" {
  value = module.network.subnets
}

output "rules" {
  description = "How many rules each security group has, without those for other sites."
  value       = module.firewall.rules
}

output "inside" {
  description = "What nodes and load balancers of the site may reach of each other."
  value       = module.firewall.inside
}

output "open" {
  description = "What is open to the internet."
  value       = module.firewall.open
}

output "content" {
  value = module.storage.content
}

output "system" {
  value = module.storage.system
}

output "backups" {
  value = module.storage.backups
}

output "entry" {
  value = module.entry
}

output "nodes" {
  description = "By role, what nodes are and may do."
  value = merge(
    { server = module.server, edge = module.edge },
    { for k, m in module.stream : "stream-${k}" => m },
  )
}

output "secrets" {
  value = { for k, s in aws_secretsmanager_secret.this : k => s.name }
}

output "alarms" {
  value = module.alarms
}
