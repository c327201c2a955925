output "group_ids" {
  description = "Security groups by purpose: lb, server, edge, stream; wan for servers beside their own."
  value       = { for k, g in aws_security_group.this : k => g.id }
}

output "rules" {
  description = "How many rules each group has, the larger of in and out."
  value = { for g in keys(aws_security_group.this) : g => max(
    length([for r in values(local.pairs) : r if r.to == g]) + length([for r in values(local.open) : r if r.to == g]),
    length([for r in values(local.pairs) : r if r.from == g]) + length([for r in values(local.out) : r if r.from == g]),
  ) }
}

output "open" {
  description = "What is open to the internet: group protocol first-last."
  value       = [for k, r in aws_vpc_security_group_ingress_rule.open : "${local.open[k].to} ${r.ip_protocol} ${r.from_port}-${r.to_port}"]
}

output "inside" {
  description = "What nodes and load balancers of the site may reach of each other: from to protocol first-last."
  value       = [for k, r in aws_vpc_security_group_ingress_rule.inside : "${local.pairs[k].from} ${local.pairs[k].to} ${r.ip_protocol} ${r.from_port}-${r.to_port}"]
}
