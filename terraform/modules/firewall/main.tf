# The firewall of a site: every rule comes from the tables below.
#
# inside: between nodes of the site. A line opens the port at "to" for "from", and
#         allows "from" to connect to it. Nothing else passes between nodes.
# open:   ports that are open to the internet.
#
# The group wan is for what servers reach of other sites (modules/peering). A group may have 60
# rules each way: in the servers' own group, they would be too many from the ninth site on.

locals {
  anywhere = "0.0.0.0/0"
  members  = ["server", "edge", "stream"]
  both     = ["tcp", "udp"]

  inside = concat(
    # The load balancers reach routers and brains.
    [for port in values(var.service_ports) : { from = "lb", to = "edge", protocol = "tcp", first = port, last = port }],
    # Routers ask brains, brains ask each other, and Prometheus on an edge node asks all.
    [for port in values(var.internal_ports) : { from = "edge", to = "edge", protocol = "tcp", first = port, last = port }],
    # The registrar of a stream node tells each brain of the node's seats.
    [{ from = "stream", to = "edge", protocol = "tcp", first = var.internal_ports.brain, last = var.internal_ports.brain }],
    [for p in var.turn ? local.both : [] : { from = "lb", to = "edge", protocol = p, first = 3478, last = 3478 }],

    # Consul: gossip between all pairs of nodes; RPC to servers.
    flatten([for to in local.members : [for from in local.members : [for p in local.both :
      { from = from, to = to, protocol = p, first = 8301, last = 8301 }
    ]]]),
    [for from in local.members : { from = from, to = "server", protocol = "tcp", first = 8300, last = 8300 }],

    # Nomad: RPC to servers.
    [for from in local.members : { from = from, to = "server", protocol = "tcp", first = 4647, last = 4647 }],

    # Gossip between servers: Consul's between sites, and Nomad's.
    flatten([for port in [8302, 4648] : [for p in local.both :
      { from = "server", to = "server", protocol = p, first = port, last = port }
    ]]),

    # Brains claim seats, at a port that the kernel chose for each.
    [{ from = "edge", to = "stream", protocol = "tcp", first = 32768, last = 60999 }],
  )

  open = merge(
    {
      https = { to = "lb", protocol = "tcp", first = 443, last = 443 }
      media = { to = "stream", protocol = "udp", first = var.media_ports.from, last = var.media_ports.to }
      # For people whose network lets no UDP out.
      media-tcp = { to = "stream", protocol = "tcp", first = var.media_ports.from, last = var.media_ports.to }
    },
    var.brain_port == null ? {} : {
      brain = { to = "lb", protocol = "tcp", first = var.brain_port, last = var.brain_port }
    },
    var.turn ? {
      turn-tcp   = { to = "lb", protocol = "tcp", first = 3478, last = 3478 }
      turn-udp   = { to = "lb", protocol = "udp", first = 3478, last = 3478 }
      turn-relay = { to = "edge", protocol = "udp", first = var.turn_ports.from, last = var.turn_ports.to }
    } : {},
  )

  # To the internet: packages, AWS and the time for all nodes; media for nodes that
  # send it.
  out = merge(
    { for from in local.members : "${from}-time" => { from = from, protocol = "udp", first = 123, last = 123 } },
    { for pair in setproduct(local.members, [80, 443]) : "${pair[0]}-tcp-${pair[1]}" => { from = pair[0], protocol = "tcp", first = pair[1], last = pair[1] } },
    { for from in concat(["stream"], var.turn ? ["edge"] : []) : "${from}-udp" => { from = from, protocol = "udp", first = 1, last = 65535 } },
  )

  pairs = { for r in local.inside : "${r.from}-${r.to}-${r.protocol}-${r.first}" => r }
}

resource "aws_security_group" "this" {
  for_each    = toset(concat(["lb", "wan"], local.members))
  region      = var.region
  vpc_id      = var.vpc_id
  name        = "${var.name}-${each.key}"
  description = "Nearcast ${each.key}"

  tags = { Name = "${var.name}-${each.key}" }
}

resource "aws_vpc_security_group_ingress_rule" "inside" {
  for_each                     = local.pairs
  region                       = var.region
  security_group_id            = aws_security_group.this[each.value.to].id
  referenced_security_group_id = aws_security_group.this[each.value.from].id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.first
  to_port                      = each.value.last
  description                  = "from ${each.value.from}"
}

resource "aws_vpc_security_group_egress_rule" "inside" {
  for_each                     = local.pairs
  region                       = var.region
  security_group_id            = aws_security_group.this[each.value.from].id
  referenced_security_group_id = aws_security_group.this[each.value.to].id
  ip_protocol                  = each.value.protocol
  from_port                    = each.value.first
  to_port                      = each.value.last
  description                  = "to ${each.value.to}"
}

resource "aws_vpc_security_group_ingress_rule" "open" {
  for_each          = local.open
  region            = var.region
  security_group_id = aws_security_group.this[each.value.to].id
  cidr_ipv4         = local.anywhere
  ip_protocol       = each.value.protocol
  from_port         = each.value.first
  to_port           = each.value.last
  description       = each.key
}

resource "aws_vpc_security_group_egress_rule" "out" {
  for_each          = local.out
  region            = var.region
  security_group_id = aws_security_group.this[each.value.from].id
  cidr_ipv4         = local.anywhere
  ip_protocol       = each.value.protocol
  from_port         = each.value.first
  to_port           = each.value.last
  description       = each.key
}
