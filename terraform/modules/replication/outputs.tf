output "to" {
  description = "Regions that content is replicated to."
  value       = [for r in aws_s3_bucket_replication_configuration.this.rule : r.id if r.status == "Enabled"]
}
