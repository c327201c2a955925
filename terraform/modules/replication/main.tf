# Replicates content from the primary site's bucket to all other sites.
#
# A bucket has one replication configuration, so this resource changes in place
# when sites are added or removed. It does not copy what was uploaded before a site
# was added: README.md, "Add a site".

resource "aws_iam_role" "this" {
  name = "${var.name}-replication"

  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Action    = "sts:AssumeRole"
      Principal = { Service = "s3.amazonaws.com" }
    }]
  })
}

resource "aws_iam_role_policy" "this" {
  name = "replicate"
  role = aws_iam_role.this.id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Effect   = "Allow"
        Action   = ["s3:GetReplicationConfiguration", "s3:ListBucket"]
        Resource = [var.source_bucket.arn]
      },
      {
        Effect   = "Allow"
        Action   = ["s3:GetObjectVersionForReplication", "s3:GetObjectVersionAcl", "s3:GetObjectVersionTagging"]
        Resource = ["${var.source_bucket.arn}/*"]
      },
      {
        Effect   = "Allow"
        Action   = ["s3:ReplicateObject", "s3:ReplicateDelete", "s3:ReplicateTags"]
        Resource = [for b in values(var.destinations) : "${b.arn}/*"]
      },
    ]
  })
}

resource "aws_s3_bucket_replication_configuration" "this" {
  region = var.region
  bucket = var.source_bucket.name
  role   = aws_iam_role.this.arn

  dynamic "rule" {
    for_each = var.destinations

    content {
      id       = rule.key
      status   = "Enabled"
      priority = index(keys(var.destinations), rule.key) + 1
      filter {}

      # Deletions are replicated too.
      delete_marker_replication {
        status = "Enabled"
      }

      destination {
        bucket        = rule.value.arn
        storage_class = "STANDARD"

        metrics {
          status = "Enabled"
        }
      }
    }
  }

  # S3 refuses a role without these rights.
  depends_on = [aws_iam_role_policy.this]
}

resource "aws_cloudwatch_metric_alarm" "failed" {
  for_each            = var.destinations
  region              = var.region
  alarm_name          = "${var.name}-content-${each.key}"
  alarm_description   = "Content is not replicated to ${each.key}: seats there end with content-missing, or show an older version."
  namespace           = "AWS/S3"
  metric_name         = "OperationsFailedReplication"
  dimensions          = { SourceBucket = var.source_bucket.name, DestinationBucket = each.value.name, RuleId = each.key }
  statistic           = "Sum"
  period              = 300
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = [var.topic_arn]
}
