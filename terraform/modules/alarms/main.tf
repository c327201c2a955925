# Alarms for operators: only about states that do not repair themselves.

resource "aws_sns_topic" "this" {
  region = var.region
  name   = "${var.name}-alarms"
}

resource "aws_sns_topic_subscription" "email" {
  count     = var.email == null ? 0 : 1
  region    = var.region
  topic_arn = aws_sns_topic.this.arn
  protocol  = "email"
  endpoint  = var.email
}

locals {
  group = "AWS/AutoScaling"
  lb    = "AWS/NetworkELB"

  simple = merge(
    {
      servers = {
        says = "Fewer than three servers for ten minutes. The site survives the loss of one server. After a second loss it starts no new sessions; running ones continue."
        from = local.group, metric = "GroupInServiceInstances", is = { AutoScalingGroupName = var.groups.server }
        when = "LessThanThreshold", value = 3, minutes = 10, silence = "breaching"
      }
      edge = {
        says = "Edge nodes are missing for fifteen minutes; the remaining ones carry their load."
        from = local.group, metric = "GroupInServiceInstances", is = { AutoScalingGroupName = var.groups.edge }
        when = "LessThanThreshold", value = var.edge_nodes, minutes = 15, silence = "breaching"
      }
    },
    { for service, ids in var.balancers : service => {
      says = "No ${service} answers: this site starts no sessions."
      from = local.lb, metric = "HealthyHostCount", is = { LoadBalancer = ids.balancer, TargetGroup = ids.targets }
      when = "LessThanThreshold", value = 1, minutes = 2, silence = "breaching"
    } },
    { for pool, max in var.pools : "${pool}-full" => {
      says = "The pool ${pool} has had its maximum of nodes for fifteen minutes: people queue, or get a site that is farther away. Raise max, or the quota."
      from = local.group, metric = "GroupInServiceInstances", is = { AutoScalingGroupName = var.groups["stream-${pool}"] }
      when = "GreaterThanOrEqualToThreshold", value = max, minutes = 15, silence = "notBreaching"
    } },
  )
}

resource "aws_cloudwatch_metric_alarm" "this" {
  for_each            = local.simple
  region              = var.region
  alarm_name          = "${var.name}-${each.key}"
  alarm_description   = each.value.says
  namespace           = each.value.from
  metric_name         = each.value.metric
  dimensions          = each.value.is
  statistic           = each.value.when == "LessThanThreshold" ? "Maximum" : "Minimum"
  period              = 60
  evaluation_periods  = each.value.minutes
  comparison_operator = each.value.when
  threshold           = each.value.value
  treat_missing_data  = each.value.silence
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]
}

# Nodes do not start: no spot capacity, a quota, a broken image.
resource "aws_cloudwatch_metric_alarm" "starved" {
  for_each            = var.pools
  region              = var.region
  alarm_name          = "${var.name}-${each.key}-starved"
  alarm_description   = "The pool ${each.key} has had fewer nodes than it needs for fifteen minutes. The activities of its auto scaling group give the reason."
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  evaluation_periods  = 15
  treat_missing_data  = "notBreaching"
  alarm_actions       = [aws_sns_topic.this.arn]
  ok_actions          = [aws_sns_topic.this.arn]

  metric_query {
    id          = "missing"
    expression  = "wanted - there"
    label       = "missing nodes"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = { wanted = "GroupDesiredCapacity", there = "GroupInServiceInstances" }

    content {
      id = metric_query.key

      metric {
        namespace   = local.group
        metric_name = metric_query.value
        dimensions  = { AutoScalingGroupName = var.groups["stream-${each.key}"] }
        period      = 60
        stat        = "Minimum"
      }
    }
  }
}

# The site as seen from the internet. Route 53 reports to us-east-1 only.
resource "aws_cloudwatch_metric_alarm" "unreachable" {
  region              = "us-east-1"
  alarm_name          = "${var.name}-${var.region}-unreachable"
  alarm_description   = "${var.region} does not answer from the internet; the common name leads to other sites."
  namespace           = "AWS/Route53"
  metric_name         = "HealthCheckStatus"
  dimensions          = { HealthCheckId = var.health_check_id }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = [var.global_topic_arn]
  ok_actions          = [var.global_topic_arn]
}
