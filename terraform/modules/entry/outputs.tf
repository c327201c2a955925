output "site_name" {
  value = local.site_name
}

output "brain_url" {
  description = "Of the site's brains, for browsers."
  value       = "wss://${local.brain_name}${local.at.brain.port == 443 ? "" : ":${local.at.brain.port}"}/v1/connect"
}

output "turn_name" {
  value = var.turn ? local.turn_name : ""
}

output "target_group_arns" {
  value = concat(values(aws_lb_target_group.this)[*].arn, values(aws_lb_target_group.turn)[*].arn)
}

output "balancers" {
  description = "By service, CloudWatch's names of load balancer and targets."
  value       = { for k, t in aws_lb_target_group.this : k => { balancer = aws_lb.this[local.at[k].balancer].arn_suffix, targets = t.arn_suffix } }
}

output "target_checks" {
  description = "By service, what the balancer asks, and whether it ends the connections of a target that fails."
  value = { for k, t in aws_lb_target_group.this : k => {
    path = t.health_check[0].path
    ends = alltrue(concat([true], t.target_health_state[*].enable_unhealthy_connection_termination))
  } }
}

output "health_check" {
  value = {
    id   = aws_route53_health_check.this.id
    fqdn = aws_route53_health_check.this.fqdn
    path = aws_route53_health_check.this.resource_path
    type = aws_route53_health_check.this.type
  }
}

output "nearest" {
  description = "The site's share of the common name."
  value = {
    name            = aws_route53_record.nearest.name
    region          = aws_route53_record.nearest.latency_routing_policy[0].region
    health_check_id = aws_route53_record.nearest.health_check_id
    target_health   = aws_route53_record.nearest.alias[0].evaluate_target_health
  }
}

output "names" {
  description = "Names of the load balancers."
  value       = values(aws_lb.this)[*].name
}

output "listeners" {
  description = "Listeners, as service protocol port."
  value = concat(
    [for k, l in aws_lb_listener.https : "${k} ${l.protocol} ${l.port}"],
    [for k in sort(keys(aws_lb_listener.turn)) : "turn ${aws_lb_listener.turn[k].protocol} ${aws_lb_listener.turn[k].port}"],
  )
}

output "certified" {
  description = "The names of the certificate; none where it was given."
  value       = toset(flatten([for c in aws_acm_certificate.this : concat([c.domain_name], tolist(c.subject_alternative_names))]))
}

output "turn_urls" {
  description = "TURN for browsers: what brains get as --turn."
  value = var.turn ? tolist([
    "turn:${local.turn_name}:3478", "turn:${local.turn_name}:3478?transport=tcp", "turns:${local.turn_name}:443?transport=tcp",
  ]) : tolist([])
}
