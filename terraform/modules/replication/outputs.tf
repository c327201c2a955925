output "to" {
  description = "Regions content goes to."
  value       = [for r in aws_s3_bucket_replication_configuration.this.rule : r.id if r.status == "Enabled"]
}
