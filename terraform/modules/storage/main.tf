# The buckets of a site.
#
# content: what apps need, uploaded at the primary site and replicated to the
#          others; stream nodes read it.
# system:  the release (only Terraform writes it), and why nodes were given up below
#          nodes/.
# backups: the servers' snapshots, in another region, so that they outlive the site's
#          region.

locals {
  buckets = { content = var.region, system = var.region, backups = var.backup_region }
}

resource "aws_s3_bucket" "this" {
  for_each      = local.buckets
  region        = each.value
  bucket_prefix = "${var.name}-${each.key}-${var.region}-"
  # Backups are for the worst day: no command of Terraform deletes them.
  force_destroy = each.key == "backups" ? false : var.force_destroy
}

resource "aws_s3_bucket_versioning" "this" {
  for_each = local.buckets
  region   = each.value
  bucket   = aws_s3_bucket.this[each.key].id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "this" {
  for_each = local.buckets
  region   = each.value
  bucket   = aws_s3_bucket.this[each.key].id

  rule {
    apply_server_side_encryption_by_default {
      sse_algorithm = "AES256"
    }
  }
}

resource "aws_s3_bucket_public_access_block" "this" {
  for_each                = local.buckets
  region                  = each.value
  bucket                  = aws_s3_bucket.this[each.key].id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "this" {
  for_each = local.buckets
  region   = each.value
  bucket   = aws_s3_bucket.this[each.key].id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "this" {
  for_each = local.buckets
  region   = each.value
  bucket   = aws_s3_bucket.this[each.key].id

  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid       = "EncryptedConnectionsOnly"
      Effect    = "Deny"
      Principal = "*"
      Action    = "s3:*"
      Resource  = [aws_s3_bucket.this[each.key].arn, "${aws_s3_bucket.this[each.key].arn}/*"]
      Condition = { Bool = { "aws:SecureTransport" = "false" } }
    }]
  })

  # S3 refuses two changes of a bucket's policy at the same time.
  depends_on = [aws_s3_bucket_public_access_block.this]
}

resource "aws_s3_bucket_lifecycle_configuration" "this" {
  for_each = local.buckets
  region   = each.value
  bucket   = aws_s3_bucket_versioning.this[each.key].bucket

  rule {
    id     = "forget"
    status = "Enabled"
    filter {}

    # Long enough to undo a deletion.
    noncurrent_version_expiration {
      noncurrent_days = 30
    }
    abort_incomplete_multipart_upload {
      days_after_initiation = 7
    }
  }

  # What the brains' leader knows of sessions is written anew each second while something happens:
  # nobody needs what it knew before.
  dynamic "rule" {
    for_each = each.key == "system" ? ["events"] : []

    content {
      id     = rule.value
      status = "Enabled"
      filter {
        prefix = "${rule.value}/"
      }
      expiration {
        days = 30
      }
      noncurrent_version_expiration {
        noncurrent_days = 1
      }
    }
  }

  # Servers of an earlier release kept their backups in system.
  dynamic "rule" {
    for_each = { content = [], system = ["backups", "nodes"], backups = ["backups"] }[each.key]

    content {
      id     = rule.value
      status = "Enabled"
      filter {
        prefix = "${rule.value}/"
      }
      expiration {
        days = 30
      }
    }
  }
}

# The release. User data names its version, so a new upload does not disturb a node
# that starts at the same moment.
resource "aws_s3_object" "release" {
  region      = var.region
  bucket      = aws_s3_bucket_versioning.this["system"].bucket
  key         = "release/nearcast.tar.gz"
  source      = var.release
  source_hash = filesha256(var.release)
}

# For servers and edge nodes with arm64.
resource "aws_s3_object" "release_arm64" {
  count       = var.release_arm64 == null ? 0 : 1
  region      = var.region
  bucket      = aws_s3_bucket_versioning.this["system"].bucket
  key         = "release/nearcast-arm64.tar.gz"
  source      = var.release_arm64
  source_hash = filesha256(var.release_arm64)
}
