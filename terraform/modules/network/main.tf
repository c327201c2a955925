# The VPC of a site: public and private subnets in three zones.
#
# Load balancers are in public subnets, and stream nodes, because browsers send
# media to them directly. Servers and edge nodes are in private ones, behind NAT.

locals {
  # The first quarter of the VPC is public and the second private, so each is one
  # network in a firewall rule. The rest is free.
  public_cidr  = cidrsubnet(var.cidr, 2, 0)
  private_cidr = cidrsubnet(var.cidr, 2, 1)
  zones        = slice(data.aws_availability_zones.this.names, 0, 3)
  nats         = var.nat_per_zone ? 3 : 1
}

data "aws_availability_zones" "this" {
  region = var.region
  state  = "available"

  # No local zones: they lack most services that a site needs.
  filter {
    name   = "opt-in-status"
    values = ["opt-in-not-required"]
  }

  lifecycle {
    postcondition {
      condition     = length(self.names) >= 3
      error_message = "${var.region} has ${length(self.names)} zones for this account, and a site needs three."
    }
  }
}

resource "aws_vpc" "this" {
  region               = var.region
  cidr_block           = var.cidr
  enable_dns_support   = true
  enable_dns_hostnames = true

  tags = { Name = var.name }
}

# An instance without a security group of ours has no connections.
resource "aws_default_security_group" "this" {
  region = var.region
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-unused" }
}

resource "aws_internet_gateway" "this" {
  region = var.region
  vpc_id = aws_vpc.this.id

  tags = { Name = var.name }
}

# The zones are chosen when a subnet is made, and stay: AWS may open another one, which would
# be among the first three.
resource "aws_subnet" "public" {
  count             = 3
  region            = var.region
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(local.public_cidr, 2, count.index)

  tags = { Name = "${var.name}-public-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_subnet" "private" {
  count             = 3
  region            = var.region
  vpc_id            = aws_vpc.this.id
  availability_zone = local.zones[count.index]
  cidr_block        = cidrsubnet(local.private_cidr, 2, count.index)

  tags = { Name = "${var.name}-private-${count.index}" }

  lifecycle {
    ignore_changes = [availability_zone]
  }
}

resource "aws_route_table" "public" {
  region = var.region
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-public" }
}

resource "aws_route" "internet" {
  region                 = var.region
  route_table_id         = aws_route_table.public.id
  destination_cidr_block = "0.0.0.0/0"
  gateway_id             = aws_internet_gateway.this.id
}

resource "aws_route_table_association" "public" {
  count          = 3
  region         = var.region
  subnet_id      = aws_subnet.public[count.index].id
  route_table_id = aws_route_table.public.id
}

resource "aws_eip" "nat" {
  count  = local.nats
  region = var.region
  domain = "vpc"

  tags = { Name = "${var.name}-nat-${count.index}" }

  depends_on = [aws_internet_gateway.this]
}

resource "aws_nat_gateway" "this" {
  count         = local.nats
  region        = var.region
  subnet_id     = aws_subnet.public[count.index].id
  allocation_id = aws_eip.nat[count.index].id

  tags = { Name = "${var.name}-${count.index}" }

  depends_on = [aws_route.internet]
}

# A table for each zone even with one NAT: they contain the routes to other sites,
# which must not move when nat_per_zone changes.
resource "aws_route_table" "private" {
  count  = 3
  region = var.region
  vpc_id = aws_vpc.this.id

  tags = { Name = "${var.name}-private-${count.index}" }
}

resource "aws_route" "nat" {
  count                  = 3
  region                 = var.region
  route_table_id         = aws_route_table.private[count.index].id
  destination_cidr_block = "0.0.0.0/0"
  nat_gateway_id         = aws_nat_gateway.this[count.index % local.nats].id
}

resource "aws_route_table_association" "private" {
  count          = 3
  region         = var.region
  subnet_id      = aws_subnet.private[count.index].id
  route_table_id = aws_route_table.private[count.index].id
}

# Content passes neither NAT nor the internet. The endpoint costs nothing.
resource "aws_vpc_endpoint" "s3" {
  region            = var.region
  vpc_id            = aws_vpc.this.id
  vpc_endpoint_type = "Gateway"
  service_name      = "com.amazonaws.${var.region}.s3"
  route_table_ids   = concat([aws_route_table.public.id], aws_route_table.private[*].id)

  tags = { Name = "${var.name}-s3" }
}
