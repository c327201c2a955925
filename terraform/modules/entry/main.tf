# The entry to a site: a load balancer for routers, one for brains and one for TURN,
# their certificate, their names.
#
# There is one for each, because a network load balancer chooses its target by port
# alone, and all of them need 443, which every office network allows. With one_balancer,
# brains are at 8443 of the routers' one.

locals {
  site_name  = "${var.region}.${var.domain}"
  brain_name = "brain.${local.site_name}"
  turn_name  = "turn.${local.site_name}"

  # Where each service is: which balancer, and its port there. TURN has one of its own.
  at = {
    router = { balancer = "router", port = 443 }
    brain  = var.one_balancer ? { balancer = "router", port = var.brain_port } : { balancer = "brain", port = 443 }
  }
  balancers = toset(concat([for k in keys(var.service_ports) : local.at[k].balancer], var.turn ? ["turn"] : []))

  certificate_arn = var.certificate_arn == null ? aws_acm_certificate_validation.this[0].certificate_arn : var.certificate_arn
  made            = var.certificate_arn == null

  # Every site's certificate includes the common name, for which ACM requires the
  # same record everywhere: only the primary site makes it.
  proven = local.made ? concat([local.site_name, local.brain_name], var.turn ? [local.turn_name] : [], var.primary ? [var.domain] : []) : []
}

resource "aws_lb" "this" {
  for_each           = local.balancers
  region             = var.region
  name               = "${var.name}-${each.key}"
  load_balancer_type = "network"
  internal           = false
  subnets            = var.subnet_ids
  security_groups    = [var.security_group_id]

  # With two routers in three zones, one zone's address would have no target.
  enable_cross_zone_load_balancing = true
}

resource "aws_lb_target_group" "this" {
  for_each    = var.service_ports
  region      = var.region
  name        = "${var.name}-${each.key}"
  vpc_id      = var.vpc_id
  target_type = "instance"
  protocol    = "TCP"
  port        = each.value

  # Pages reconnect to another brain: the sooner, the better.
  deregistration_delay   = 30
  connection_termination = true

  # Routers see a person's own address, and so trust no X-Forwarded-For: see
  # --trusted-proxy. Security groups make it safe: only the balancer reaches the port.
  preserve_client_ip = "true"

  # A full brain fails this check, so that nobody new comes to it. Those who are there
  # stay, as the balancer ends no connection for it. Where all brains are full, the
  # balancer uses them all.
  dynamic "target_health_state" {
    for_each = each.key == "brain" ? ["brain"] : []
    content {
      enable_unhealthy_connection_termination = false
    }
  }

  health_check {
    protocol            = "HTTP"
    path                = each.key == "brain" ? "/room" : "/healthz"
    interval            = 10
    timeout             = 5
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }
}

resource "aws_lb_listener" "https" {
  for_each          = var.service_ports
  region            = var.region
  load_balancer_arn = aws_lb.this[local.at[each.key].balancer].arn
  protocol          = "TLS"
  port              = local.at[each.key].port
  ssl_policy        = "ELBSecurityPolicy-TLS13-1-2-2021-06"
  certificate_arn   = local.certificate_arn

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.this[each.key].arn
  }
}

# TURN: clients connect through its balancer; relayed packets use the address of the
# edge node itself. The balancer ends TLS, for people whose network lets out nothing but
# TCP 443: edge nodes need no certificate.
locals {
  turn_listeners = var.turn ? {
    open = { listens = "TCP_UDP", port = 3478, targets = "TCP_UDP" }
    tls  = { listens = "TLS", port = 443, targets = "TCP" }
  } : {}
}

resource "aws_lb_target_group" "turn" {
  for_each    = local.turn_listeners
  region      = var.region
  name        = "${var.name}-turn${each.key == "tls" ? "-tls" : ""}"
  vpc_id      = var.vpc_id
  target_type = "instance"
  protocol    = each.value.targets
  port        = 3478

  # TURN servers bound what one address may have.
  preserve_client_ip = "true"

  health_check {
    protocol = "TCP"
    interval = 10
  }
}

moved {
  from = aws_lb_target_group.turn[0]
  to   = aws_lb_target_group.turn["open"]
}

resource "aws_lb_listener" "turn" {
  for_each          = local.turn_listeners
  region            = var.region
  load_balancer_arn = aws_lb.this["turn"].arn
  protocol          = each.value.listens
  port              = each.value.port
  ssl_policy        = each.value.listens == "TLS" ? "ELBSecurityPolicy-TLS13-1-2-2021-06" : null
  certificate_arn   = each.value.listens == "TLS" ? local.certificate_arn : null

  default_action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.turn[each.key].arn
  }
}

moved {
  from = aws_lb_listener.turn[0]
  to   = aws_lb_listener.turn["open"]
}

# ---- certificate

resource "aws_acm_certificate" "this" {
  count                     = local.made ? 1 : 0
  region                    = var.region
  domain_name               = local.site_name
  subject_alternative_names = concat([local.brain_name, var.domain], var.turn ? [local.turn_name] : [])
  validation_method         = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_route53_record" "proof" {
  for_each = toset(local.proven)
  zone_id  = var.zone_id
  name     = one([for o in aws_acm_certificate.this[0].domain_validation_options : o.resource_record_name if o.domain_name == each.key])
  type     = one([for o in aws_acm_certificate.this[0].domain_validation_options : o.resource_record_type if o.domain_name == each.key])
  records  = [one([for o in aws_acm_certificate.this[0].domain_validation_options : o.resource_record_value if o.domain_name == each.key])]
  ttl      = 300
  # An earlier certificate for the same name has the same record.
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "this" {
  count           = local.made ? 1 : 0
  region          = var.region
  certificate_arn = aws_acm_certificate.this[0].arn

  depends_on = [aws_route53_record.proof]
}

# ---- names

# The site's own names, by which pages measure it and reach its brains.
resource "aws_route53_record" "site" {
  for_each = merge(
    { (local.site_name) = "router", (local.brain_name) = local.at.brain.balancer },
    var.turn ? { (local.turn_name) = "turn" } : {},
  )
  zone_id = var.zone_id
  name    = each.key
  type    = "A"

  alias {
    name                   = aws_lb.this[each.value].dns_name
    zone_id                = aws_lb.this[each.value].zone_id
    evaluate_target_health = false
  }
}

resource "aws_route53_health_check" "this" {
  type              = "HTTPS"
  fqdn              = local.site_name
  port              = 443
  resource_path     = "/healthz"
  enable_sni        = true
  request_interval  = 30
  failure_threshold = 3

  tags = { Name = "${var.name}-${var.region}" }
}

# The common name leads to the nearest healthy site.
resource "aws_route53_record" "nearest" {
  zone_id         = var.zone_id
  name            = var.domain
  type            = "A"
  set_identifier  = var.region
  health_check_id = aws_route53_health_check.this.id

  latency_routing_policy {
    region = var.region
  }

  alias {
    name                   = aws_lb.this["router"].dns_name
    zone_id                = aws_lb.this["router"].zone_id
    evaluate_target_health = true
  }
}
