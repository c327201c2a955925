# A site: all resources of one region. Of the other sites it knows only the region
# of the primary one.

locals {
  primary       = var.region == var.primary_region
  service_ports = { router = 8080, brain = 8081 }
  # Of the same jobs, for the site's own processes; no load balancer forwards to them.
  internal_ports = { router = 8090, brain = 8091 }
  # Of brains for browsers, where they share the routers' load balancer.
  shared_brain_port = 8443

  # Nodes find their site's servers by this tag, and servers the primary site's.
  join_tag = { nearcast-server = var.name }
  join     = "provider=aws addr_type=private_v4 tag_key=nearcast-server tag_value=${var.name} region="

  # Secrets by their readers; only servers read the first one. Terraform makes them
  # empty, and the primary site's first server makes their values: no value is in a
  # state file or on an operator's machine.
  secrets = toset(["servers", "edge", "nodes"])

  env = {
    NEARCAST_CLUSTER          = var.name
    NEARCAST_SITE             = var.region
    NEARCAST_PRIMARY_SITE     = var.primary_region
    NEARCAST_SERVERS          = "3"
    NEARCAST_JOIN             = "${local.join}${var.region}"
    NEARCAST_SECRET_NODES     = aws_secretsmanager_secret.this["nodes"].name
    NEARCAST_SSM_AGENT_URL    = var.session_manager == null ? "" : var.session_manager.url
    NEARCAST_SSM_AGENT_SHA256 = var.session_manager == null ? "" : var.session_manager.sha256
  }

  node = {
    name              = var.name
    region            = var.region
    image             = { for role, arch in local.arch : role => try(local.made[role], local.found[arch]) }
    release           = { for role, arch in local.arch : role => module.storage.releases[arch] }
    system_bucket_arn = module.storage.system.arn
    tags              = merge(var.tags, { nearcast = var.name })
  }

  # By role. The names of AWS's arm64 types have a g after the number, but for a1.
  arch = merge(
    { for role, type in { server = var.server_type, edge = var.edge_type } : role => can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", type)) ? "arm64" : "amd64" },
    { for p in keys(var.pools) : "stream-${p}" => "amd64" },
  )
  image_parameters = { for arch in toset(values(local.arch)) : arch => { amd64 = var.image_parameter, arm64 = var.image_parameter_arm64 }[arch] }

  found = { for arch, ami in data.aws_ami.this : arch => { id = ami.id, root_device = ami.root_device_name } }
  made  = { for role, ami in data.aws_ami.made : role => { id = ami.id, root_device = ami.root_device_name } }

  account    = data.aws_caller_identity.this.account_id
  partition  = data.aws_partition.this.partition
  group_arns = { for pool in keys(var.pools) : pool => "arn:${local.partition}:autoscaling:${var.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${var.name}-stream-${pool}" }
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

data "aws_ssm_parameter" "image" {
  for_each = local.image_parameters
  region   = var.region
  name     = each.value
}

data "aws_ami" "this" {
  for_each = local.image_parameters
  region   = var.region

  filter {
    name   = "image-id"
    values = [data.aws_ssm_parameter.image[each.key].insecure_value]
  }
}

data "aws_ami" "made" {
  # A pool may be removed before its image is.
  for_each = { for role, ami in var.images : role => ami if contains(keys(local.arch), role) }
  region   = var.region
  owners   = ["self"]

  filter {
    name   = "image-id"
    values = [each.value]
  }

  lifecycle {
    postcondition {
      condition     = self.architecture == { amd64 = "x86_64", arm64 = "arm64" }[local.arch[each.key]]
      error_message = "the image ${each.value} of ${each.key} in ${var.region} is for ${self.architecture}, and its nodes are ${local.arch[each.key]}: give one that was made on such a machine, or another instance type."
    }
  }
}

module "network" {
  source       = "../network"
  name         = var.name
  region       = var.region
  cidr         = var.cidr
  nat_per_zone = var.nat_per_zone
}

module "firewall" {
  source         = "../firewall"
  name           = var.name
  region         = var.region
  vpc_id         = module.network.vpc_id
  service_ports  = local.service_ports
  internal_ports = local.internal_ports
  media_ports    = var.media_ports
  brain_port     = var.one_balancer ? local.shared_brain_port : null
  turn           = var.turn
  turn_ports     = var.turn_ports
}

module "storage" {
  source        = "../storage"
  name          = var.name
  region        = var.region
  backup_region = var.backup_region
  force_destroy = var.force_destroy
  release       = var.release
  release_arm64 = var.release_arm64
}

resource "aws_secretsmanager_secret" "this" {
  for_each    = local.secrets
  region      = var.region
  name        = "${var.name}/${each.key}"
  description = "Read by ${ { servers = "servers", edge = "servers and edge nodes", nodes = "all nodes" }[each.key]} of this site; written by servers."

  # Deleted at once, so that a new cluster can have the same name.
  recovery_window_in_days = 0
}

module "entry" {
  source            = "../entry"
  name              = var.name
  region            = var.region
  primary           = local.primary
  domain            = var.domain
  zone_id           = var.zone_id
  vpc_id            = module.network.vpc_id
  subnet_ids        = module.network.public_subnet_ids
  security_group_id = module.firewall.group_ids["lb"]
  service_ports     = local.service_ports
  certificate_arn   = var.certificate_arn
  one_balancer      = var.one_balancer
  brain_port        = local.shared_brain_port
  turn              = var.turn
}

module "server" {
  source            = "../nodes"
  name              = local.node.name
  region            = local.node.region
  role              = "server"
  image             = local.node.image["server"]
  release           = local.node.release["server"]
  system_bucket_arn = local.node.system_bucket_arn
  tags              = local.node.tags
  group_tags        = local.join_tag

  instance_types     = [var.server_type]
  min                = 3
  max                = 3
  on_demand_base     = 3
  subnet_ids         = module.network.private_subnet_ids
  security_group_ids = [module.firewall.group_ids["server"], module.firewall.group_ids["wan"]]
  root_gib           = 30
  drain_seconds      = 300 # to leave the quorum in order

  join_regions = distinct([var.region, var.primary_region])
  secret_arns = concat(
    values(aws_secretsmanager_secret.this)[*].arn,
    # Other sites copy the secrets of the primary site.
    local.primary ? [] : [for s in local.secrets : "arn:${local.partition}:secretsmanager:${var.primary_region}:${local.account}:secret:${var.name}/${s}-??????"],
  )
  statements = [
    {
      Sid      = "WriteSecrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:PutSecretValue"]
      Resource = values(aws_secretsmanager_secret.this)[*].arn
    },
    {
      # An operator restores, with their own rights. Servers of the release before write to the system
      # bucket until they are replaced; remove it with the next release.
      Sid      = "Backups"
      Effect   = "Allow"
      Action   = ["s3:PutObject"]
      Resource = ["${module.storage.backups.arn}/backups/*", "${module.storage.system.arn}/backups/*"]
    },
    # The autoscaler runs on servers.
    {
      Sid       = "SeePools"
      Effect    = "Allow"
      Action    = ["autoscaling:DescribeAutoScalingGroups", "autoscaling:DescribeInstanceRefreshes", "autoscaling:DescribeScalingActivities"]
      Resource  = ["*"]
      Condition = { StringEquals = { "aws:RequestedRegion" = [var.region] } }
    },
    {
      Sid      = "ScalePools"
      Effect   = "Allow"
      Action   = ["autoscaling:CreateOrUpdateTags", "autoscaling:TerminateInstanceInAutoScalingGroup", "autoscaling:UpdateAutoScalingGroup"]
      Resource = values(local.group_arns)
    },
  ]

  env = merge(local.env, {
    NEARCAST_POOL           = "server"
    NEARCAST_JOIN_WAN       = local.primary ? "" : "${local.join}${var.primary_region}"
    NEARCAST_SECRET_SERVERS = aws_secretsmanager_secret.this["servers"].name
    NEARCAST_SECRET_EDGE    = aws_secretsmanager_secret.this["edge"].name
    NEARCAST_BACKUP_URL     = "s3://${module.storage.backups.name}/backups"
    NEARCAST_BACKUP_REGION  = module.storage.backups.region
  })
}

module "edge" {
  source            = "../nodes"
  name              = local.node.name
  region            = local.node.region
  role              = "edge"
  image             = local.node.image["edge"]
  release           = local.node.release["edge"]
  system_bucket_arn = local.node.system_bucket_arn
  tags              = local.node.tags

  instance_types     = [var.edge_type]
  min                = var.edge_nodes
  max                = var.edge_nodes
  on_demand_base     = var.edge_nodes
  subnet_ids         = var.turn ? module.network.public_subnet_ids : module.network.private_subnet_ids
  public             = var.turn
  security_group_ids = [module.firewall.group_ids["edge"]]
  target_group_arns  = module.entry.target_group_arns
  root_gib           = 20
  drain_seconds      = 300 # pages reconnect to another brain

  join_regions = [var.region]
  secret_arns  = [aws_secretsmanager_secret.this["edge"].arn, aws_secretsmanager_secret.this["nodes"].arn]

  # Where the brains' leader keeps events for webhooks: see --events.
  statements = [
    {
      Sid      = "Events"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:PutObject", "s3:DeleteObject"]
      Resource = ["${module.storage.system.arn}/events/*"]
    },
    {
      Sid       = "ListEvents"
      Effect    = "Allow"
      Action    = ["s3:ListBucket"]
      Resource  = [module.storage.system.arn]
      Condition = { StringLike = { "s3:prefix" = ["events/*"] } }
    },
  ]

  env = merge(local.env, {
    NEARCAST_POOL        = "edge"
    NEARCAST_SECRET_EDGE = aws_secretsmanager_secret.this["edge"].name
    NEARCAST_PUBLIC_URL  = "https://${var.domain}"
    NEARCAST_ROUTER_URL  = "https://${module.entry.site_name}"
    NEARCAST_ROUTER_PORT = tostring(local.service_ports.router)
    NEARCAST_BRAIN_URL   = module.entry.brain_url
    NEARCAST_BRAIN_PORT  = tostring(local.service_ports.brain)
    NEARCAST_TURN        = var.turn ? "${module.entry.turn_name}:3478" : ""
    NEARCAST_TURN_PORTS  = var.turn ? "${var.turn_ports.from}-${var.turn_ports.to}" : ""
  })
}

module "stream" {
  source            = "../nodes"
  for_each          = var.pools
  name              = local.node.name
  region            = local.node.region
  role              = "stream-${each.key}"
  image             = local.node.image["stream-${each.key}"]
  release           = local.node.release["stream-${each.key}"]
  system_bucket_arn = local.node.system_bucket_arn
  tags              = local.node.tags

  instance_types     = each.value.instance_types
  min                = each.value.min
  max                = each.value.max
  on_demand_base     = each.value.on_demand_base
  spot_percent       = each.value.spot_percent
  protected          = true
  subnet_ids         = module.network.public_subnet_ids
  public             = true
  security_group_ids = [module.firewall.group_ids["stream"]]
  root_gib           = each.key == "gpu" ? 50 : 30
  cache_gib          = each.value.local_cache ? 0 : each.value.cache_gib
  drain_seconds      = 7200 # as long as AWS allows without a heartbeat

  join_regions = [var.region]
  secret_arns  = [aws_secretsmanager_secret.this["nodes"].arn]
  statements = [
    {
      # A job may name a version of an object.
      Sid      = "ReadContent"
      Effect   = "Allow"
      Action   = ["s3:GetObject", "s3:GetObjectVersion"]
      Resource = ["${module.storage.content.arn}/*"]
    },
    {
      # For prefixes, and to distinguish missing objects from forbidden ones.
      Sid      = "ListContent"
      Effect   = "Allow"
      Action   = ["s3:ListBucket"]
      Resource = [module.storage.content.arn]
    },
  ]

  env = merge(local.env, {
    NEARCAST_POOL           = "stream-${each.key}"
    NEARCAST_GPU            = each.key == "gpu" ? "yes" : "no"
    NEARCAST_MEDIA_PORTS    = "${var.media_ports.from}-${var.media_ports.to}"
    NEARCAST_CONTENT_BUCKET = module.storage.content.name
    NEARCAST_PACKAGES       = join(" ", each.value.packages)
    NEARCAST_CACHE_DEVICE   = each.value.local_cache ? "local" : "/dev/sdf"
    NEARCAST_CACHE_GIB      = tostring(each.value.cache_gib)
  }, each.key == "gpu" ? { NEARCAST_GPU_SEATS = tostring(each.value.gpu_seats) } : {})
}

module "alarms" {
  source           = "../alarms"
  name             = var.name
  region           = var.region
  email            = var.alarm_email
  edge_nodes       = var.edge_nodes
  pools            = { for k, p in var.pools : k => p.max }
  balancers        = module.entry.balancers
  health_check_id  = module.entry.health_check.id
  global_topic_arn = var.global_topic_arn

  groups = merge(
    { server = module.server.group, edge = module.edge.group },
    { for k, m in module.stream : "stream-${k}" => m.group },
  )
}
