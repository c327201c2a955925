output "vpc_id" {
  value = aws_vpc.this.id
}

output "cidr" {
  value = aws_vpc.this.cidr_block
}

output "private_cidr" {
  description = "All private subnets as one network."
  value       = local.private_cidr
}

# A subnet is there before its way out is: a node that starts meanwhile reaches nothing. So
# what uses these ids waits for the routes.

output "public_subnet_ids" {
  value      = aws_subnet.public[*].id
  depends_on = [aws_route.internet, aws_route_table_association.public, aws_vpc_endpoint.s3]
}

output "private_subnet_ids" {
  value      = aws_subnet.private[*].id
  depends_on = [aws_route.nat, aws_route_table_association.private, aws_vpc_endpoint.s3]
}

output "private_route_table_ids" {
  value = aws_route_table.private[*].id
}

output "subnets" {
  description = "Subnets by kind: their zones and networks."
  value = {
    public  = { for s in aws_subnet.public : s.availability_zone => s.cidr_block }
    private = { for s in aws_subnet.private : s.availability_zone => s.cidr_block }
  }
}
