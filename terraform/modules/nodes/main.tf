# A group of nodes with one role at one site, in three zones.
#
# Variables have what differs between roles. The same for all: metadata is
# protected, disks are encrypted, and a node learns of its end.

locals {
  # Known before the group is made, because the policies below name it.
  group = "${var.name}-${var.role}"
  hook  = "drain"
  # Until a node says that it is ready, the group gives it no people, and replaces no other
  # node by it. install.sh and the way into the site take minutes; AWS may be away for
  # twenty. "nearcast provision ready" gives up after 40 minutes and says why; the hook
  # ends nodes that cannot even say that.
  ready_hook    = "ready"
  ready_seconds = 2700
  launching     = "autoscaling:EC2_INSTANCE_LAUNCHING"

  account   = data.aws_caller_identity.this.account_id
  partition = data.aws_partition.this.partition
  group_arn = "arn:${local.partition}:autoscaling:${var.region}:${local.account}:autoScalingGroup:*:autoScalingGroupName/${local.group}"

  env = merge(var.env, {
    NEARCAST_ROLE        = split("-", var.role)[0]
    NEARCAST_ASG         = local.group
    NEARCAST_HOOK        = local.hook
    NEARCAST_READY_HOOK  = local.ready_hook
    NEARCAST_REPORTS_URL = "s3://${var.release.bucket}/nodes"
  })

  statements = concat(
    [
      {
        Sid      = "SetUpFrom"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = ["${var.system_bucket_arn}/release/*"]
      },
      {
        # To find the servers by their tag. EC2 has no narrower right than a region.
        Sid       = "Join"
        Effect    = "Allow"
        Action    = ["ec2:DescribeInstances"]
        Resource  = ["*"]
        Condition = { StringEquals = { "aws:RequestedRegion" = var.join_regions } }
      },
      {
        # Why a node is given up. It can write, and read nothing.
        Sid      = "Report"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = ["${var.system_bucket_arn}/nodes/${local.group}/*"]
      },
      {
        Sid      = "StartAndEndInOrder"
        Effect   = "Allow"
        Action   = ["autoscaling:CompleteLifecycleAction", "autoscaling:RecordLifecycleActionHeartbeat"]
        Resource = [local.group_arn]
      },
      {
        # Operators' shells and port forwarding, instead of an open SSH port.
        Sid    = "Sessions"
        Effect = "Allow"
        Action = [
          "ssm:UpdateInstanceInformation",
          "ssmmessages:CreateControlChannel", "ssmmessages:CreateDataChannel",
          "ssmmessages:OpenControlChannel", "ssmmessages:OpenDataChannel",
        ]
        Resource = ["*"]
      },
    ],
    # "nearcast provision health" gives up a node whose agents stay dead. A server is no such node: one in
    # its place would change the quorum.
    [
      for s in [
        {
          Sid      = "GiveUp"
          Effect   = "Allow"
          Action   = ["autoscaling:SetInstanceHealth"]
          Resource = [local.group_arn]
        },
        {
          # Whether another node of the group is sick. Auto Scaling has no narrower right than a region.
          Sid       = "SeeGroup"
          Effect    = "Allow"
          Action    = ["autoscaling:DescribeAutoScalingGroups"]
          Resource  = ["*"]
          Condition = { StringEquals = { "aws:RequestedRegion" = [var.region] } }
        },
      ] : s if var.role != "server"
    ],
    length(var.secret_arns) == 0 ? [] : [{
      Sid      = "Secrets"
      Effect   = "Allow"
      Action   = ["secretsmanager:GetSecretValue"]
      Resource = var.secret_arns
    }],
    var.statements,
  )
}

data "aws_caller_identity" "this" {}

data "aws_partition" "this" {}

resource "aws_iam_role" "this" {
  name = "${var.name}-${var.region}-${var.role}"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "ec2.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name   = "node"
  role   = aws_iam_role.this.id
  policy = jsonencode({ Version = "2012-10-17", Statement = local.statements })
}

resource "aws_iam_instance_profile" "this" {
  name = aws_iam_role.this.name
  role = aws_iam_role.this.name
}

resource "aws_launch_template" "this" {
  region                 = var.region
  name                   = local.group
  image_id               = var.image.id
  instance_type          = var.instance_types[0]
  update_default_version = true

  user_data = base64encode(templatefile("${path.module}/user-data.sh.tftpl", {
    env     = local.env
    release = var.release
    region  = var.region
    domain  = data.aws_partition.this.dns_suffix
  }))

  iam_instance_profile {
    arn = aws_iam_instance_profile.this.arn
  }

  # An app that escapes its network namespace cannot get the node's rights.
  metadata_options {
    http_endpoint               = "enabled"
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
    instance_metadata_tags      = "disabled"
  }

  network_interfaces {
    associate_public_ip_address = var.public
    delete_on_termination       = true
    security_groups             = var.security_group_ids
  }

  block_device_mappings {
    device_name = var.image.root_device

    ebs {
      volume_type           = "gp3"
      volume_size           = var.root_gib
      encrypted             = true
      delete_on_termination = true
    }
  }

  dynamic "block_device_mappings" {
    for_each = var.cache_gib > 0 ? [var.cache_gib] : []

    content {
      device_name = "/dev/sdf"

      ebs {
        volume_type           = "gp3"
        volume_size           = block_device_mappings.value
        encrypted             = true
        delete_on_termination = true
      }
    }
  }

  dynamic "tag_specifications" {
    for_each = ["instance", "volume", "network-interface"]

    content {
      resource_type = tag_specifications.value
      tags          = merge(var.tags, { Name = local.group })
    }
  }

  lifecycle {
    # A shell reads the values: none may end its quotes.
    precondition {
      condition     = alltrue([for v in values(local.env) : !strcontains(v, "'") && !strcontains(v, "\n")])
      error_message = "values for nodes must not contain a quote or a line break: ${join(", ", [for k, v in local.env : k if strcontains(v, "'") || strcontains(v, "\n")])}."
    }
  }
}

resource "aws_autoscaling_group" "this" {
  region              = var.region
  name                = local.group
  min_size            = var.min
  max_size            = var.max
  vpc_zone_identifier = var.subnet_ids
  target_group_arns   = var.target_group_arns

  health_check_type         = "EC2"
  health_check_grace_period = 300
  # Alarms report a node that cannot start. Waiting here would leave the other
  # sites incomplete.
  wait_for_capacity_timeout = "0"

  # Spot nodes that AWS is likely to take back are replaced before.
  capacity_rebalance = var.spot_percent > 0
  # Zones become unbalanced sometimes; do not end sessions to repair that.
  suspended_processes = var.role == "server" ? [] : ["AZRebalance"]

  # The group itself chooses no node that it ends to become smaller: it knows no people. The autoscaler
  # does, and TerminateInstanceInAutoScalingGroup ends protected nodes too. No role of a node may change it for
  # nodes that run.
  protect_from_scale_in = var.protected

  enabled_metrics = ["GroupDesiredCapacity", "GroupInServiceInstances"]

  mixed_instances_policy {
    instances_distribution {
      on_demand_base_capacity                  = var.on_demand_base
      on_demand_percentage_above_base_capacity = 100 - var.spot_percent
      on_demand_allocation_strategy            = "prioritized"
      spot_allocation_strategy                 = "price-capacity-optimized"
    }

    launch_template {
      launch_template_specification {
        launch_template_id = aws_launch_template.this.id
        version            = aws_launch_template.this.latest_version
      }

      dynamic "override" {
        for_each = var.instance_types

        content {
          instance_type = override.value
        }
      }
    }
  }

  # The first nodes start with the group: a hook made after it would miss them.
  initial_lifecycle_hook {
    name                 = local.ready_hook
    lifecycle_transition = local.launching
    heartbeat_timeout    = local.ready_seconds
    default_result       = "ABANDON"
  }

  # If possible, a new node starts before an old one ends.
  instance_maintenance_policy {
    min_healthy_percentage = 100
    max_healthy_percentage = 134
  }

  dynamic "tag" {
    for_each = merge(var.tags, var.group_tags)

    content {
      key                 = tag.key
      value               = tag.value
      propagate_at_launch = true
    }
  }

  lifecycle {
    # The autoscaler or an operator sets it, between min and max.
    ignore_changes = [desired_capacity]
  }

  depends_on = [aws_iam_role_policy.this]
}

# Before the group ends a node (scaling, replacement, rebalancing), it waits this
# long until the node reports that its sessions have ended. It is a separate
# resource, so that destroy removes it first and does not wait.
resource "aws_autoscaling_lifecycle_hook" "drain" {
  region                 = var.region
  name                   = local.hook
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = "autoscaling:EC2_INSTANCE_TERMINATING"
  heartbeat_timeout      = var.drain_seconds
  default_result         = "CONTINUE"
}

# The same hook for a group that is there already: the group's own block counts only when
# it is made.
resource "aws_autoscaling_lifecycle_hook" "ready" {
  region                 = var.region
  name                   = local.ready_hook
  autoscaling_group_name = aws_autoscaling_group.this.name
  lifecycle_transition   = local.launching
  heartbeat_timeout      = local.ready_seconds
  default_result         = "ABANDON"
}
