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

output "releases" {
  description = "The release in its latest version, by architecture."
  value = { for arch, object in merge(
    { amd64 = aws_s3_object.release },
    { for object in aws_s3_object.release_arm64 : "arm64" => object },
    ) : arch => {
    bucket  = object.bucket
    key     = object.key
    version = object.version_id
    sha256  = object.source_hash
  } }
}
