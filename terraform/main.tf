# A cluster: a site for each AWS region, a connection between each pair of sites, and
# replication of content from the primary site to the others. README.md says how to
# use it.

locals {
  others = { for n, m in module.region : n => m if n != var.primary_region }

  # Each pair of sites once, by both names.
  pairs = merge([for i, a in keys(var.regions) : {
    for b in slice(keys(var.regions), i + 1, length(var.regions)) : "${a}--${b}" => { a = a, b = b }
  }]...)
}

data "aws_route53_zone" "this" {
  name         = var.zone
  private_zone = false
}

module "region" {
  source   = "./modules/region"
  for_each = var.regions

  name                  = var.name
  region                = each.key
  primary_region        = var.primary_region
  domain                = var.domain
  zone_id               = data.aws_route53_zone.this.zone_id
  cidr                  = each.value.cidr
  edge_nodes            = each.value.edge_nodes
  pools                 = each.value.pools
  images                = each.value.images
  backup_region         = coalesce(each.value.backup_region, local.backup_regions[each.key])
  certificate_arn       = lookup(var.certificates, each.key, null)
  one_balancer          = var.one_balancer
  media_ports           = var.media_ports
  turn                  = var.turn
  turn_ports            = var.turn_ports
  server_type           = var.server_type
  edge_type             = var.edge_type
  nat_per_zone          = var.nat_per_zone
  image_parameter       = var.image_parameter
  image_parameter_arm64 = var.image_parameter_arm64
  session_manager       = var.session_manager
  release               = var.release
  release_arm64         = var.release_arm64
  alarm_email           = var.alarm_email
  global_topic_arn      = aws_sns_topic.global.arn
  force_destroy         = var.force_destroy
  tags                  = var.tags
}

module "peering" {
  source   = "./modules/peering"
  for_each = local.pairs

  name = var.name
  a    = module.region[each.value.a].network
  b    = module.region[each.value.b].network
}

module "replication" {
  source = "./modules/replication"
  count  = length(var.regions) > 1 ? 1 : 0

  name          = var.name
  region        = var.primary_region
  source_bucket = module.region[var.primary_region].content
  destinations  = { for n, m in local.others : n => m.content }
  topic_arn     = module.region[var.primary_region].alarms.topic_arn
}

# Route 53 reports the health of all sites to us-east-1.
resource "aws_sns_topic" "global" {
  region = "us-east-1"
  name   = "${var.name}-reachability"
}

resource "aws_sns_topic_subscription" "global" {
  count     = var.alarm_email == null ? 0 : 1
  region    = "us-east-1"
  topic_arn = aws_sns_topic.global.arn
  protocol  = "email"
  endpoint  = var.alarm_email
}
