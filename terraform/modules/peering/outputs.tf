output "rules" {
  description = "How many rules each side has for the other, in and out."
  value       = length(local.ports)
}

output "connection_id" {
  value = aws_vpc_peering_connection.this.id
}
