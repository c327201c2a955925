output "content" {
  description = "The content bucket; its versioning is on before its name is known."
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

output "backups" {
  value = {
    name   = aws_s3_bucket_versioning.this["backups"].bucket
    arn    = aws_s3_bucket.this["backups"].arn
    region = var.backup_region
  }
}

output "release" {
  description = "The release in its latest version."
  value = {
    bucket  = aws_s3_object.release.bucket
    key     = aws_s3_object.release.key
    version = aws_s3_object.release.version_id
    sha256  = aws_s3_object.release.source_hash
  }
}
