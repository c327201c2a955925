output "content" {
  description = "The content bucket. It is versioned by the time its name is known."
  value = {
    name = aws_s3_bucket_versioning.this["content"].bucket
    arn  = aws_s3_bucket.this["content"].arn
  }
}

output "system" {
  value = {
    name = aws_s3_bucket_versioning.this["system"].bucket
    arn  = aws_s3_bucket.this["system"].arn
  }
}

output "bundles" {
  description = "Where each archive is, in the version that was uploaded last."
  value = { for k, o in aws_s3_object.bundle : k => {
    bucket  = o.bucket
    key     = o.key
    version = o.version_id
    sha256  = var.bundles[k].sha256
  } }
}
