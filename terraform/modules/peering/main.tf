# A connection of two sites, for their servers only.
#
# Peering, not a transit gateway: only gossip and small reads pass, and peering
# costs only its traffic, while a gateway costs by the hour at each site. Every
# pair of sites needs a connection; Consul's and Nomad's gossip needs that too.
# This module has all resources of a pair, so the removal of a site removes its
# pairs and changes no others.

locals {
  sides = { a = var.a, b = var.b }
  other = { a = var.b, b = var.a }

  # RPC and gossip between sites, of Consul and of Nomad.
  ports = [
    { protocol = "tcp", first = 8300, last = 8300 },
    { protocol = "tcp", first = 8302, last = 8302 },
    { protocol = "udp", first = 8302, last = 8302 },
    { protocol = "tcp", first = 4647, last = 4648 },
    { protocol = "udp", first = 4648, last = 4648 },
  ]

  rules = merge([for side in keys(local.sides) : {
    for p in local.ports : "${side}-${p.protocol}-${p.first}" => merge(p, { side = side })
  }]...)

  # Route tables by index, because their ids are not known before they are made.
  routes = { for pair in setproduct(keys(local.sides), [0, 1, 2]) : "${pair[0]}-${pair[1]}" => { side = pair[0], table = pair[1] } }
}

resource "aws_vpc_peering_connection" "this" {
  region      = var.a.region
  vpc_id      = var.a.vpc_id
  peer_vpc_id = var.b.vpc_id
  peer_region = var.b.region

  tags = { Name = "${var.name}-${var.a.region}-${var.b.region}" }
}

resource "aws_vpc_peering_connection_accepter" "this" {
  region                    = var.b.region
  vpc_peering_connection_id = aws_vpc_peering_connection.this.id
  auto_accept               = true

  tags = { Name = "${var.name}-${var.a.region}-${var.b.region}" }
}

# Only between private subnets: stream nodes, which run other people's programs,
# have no route to another site.
resource "aws_route" "this" {
  for_each                  = local.routes
  region                    = local.sides[each.value.side].region
  route_table_id            = local.sides[each.value.side].route_table_ids[each.value.table]
  destination_cidr_block    = local.other[each.value.side].cidr
  vpc_peering_connection_id = aws_vpc_peering_connection_accepter.this.vpc_peering_connection_id
}

resource "aws_vpc_security_group_ingress_rule" "this" {
  for_each          = local.rules
  region            = local.sides[each.value.side].region
  security_group_id = local.sides[each.value.side].wan_group_id
  cidr_ipv4         = local.other[each.value.side].cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.first
  to_port           = each.value.last
  description       = "from ${local.other[each.value.side].region}"
}

resource "aws_vpc_security_group_egress_rule" "this" {
  for_each          = local.rules
  region            = local.sides[each.value.side].region
  security_group_id = local.sides[each.value.side].wan_group_id
  cidr_ipv4         = local.other[each.value.side].cidr
  ip_protocol       = each.value.protocol
  from_port         = each.value.first
  to_port           = each.value.last
  description       = "to ${local.other[each.value.side].region}"
}
