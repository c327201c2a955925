# Answers of the stand-in for AWS, where Terraform's generated values do not fit: it
# checks arguments that must be ARNs.

mock_data "aws_availability_zones" {
  defaults = {
    names = ["zone-a", "zone-b", "zone-c", "zone-d"]
  }
}

mock_data "aws_caller_identity" {
  defaults = {
    account_id = "000000000000"
  }
}

mock_data "aws_partition" {
  defaults = {
    partition = "aws"
    # No partition has it: what is written out shows.
    dns_suffix = "amazonaws.test"
  }
}

mock_data "aws_ssm_parameter" {
  defaults = {
    insecure_value = "ami-0123456789abcdef0"
  }
}

mock_data "aws_ami" {
  defaults = {
    id               = "ami-0123456789abcdef0"
    root_device_name = "/dev/xvda"
    architecture     = "x86_64"
  }
}

mock_resource "aws_acm_certificate" {
  defaults = {
    arn = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up"
  }
}

mock_resource "aws_iam_instance_profile" {
  defaults = {
    arn = "arn:aws:iam::000000000000:instance-profile/made-up"
  }
}

mock_resource "aws_iam_role" {
  defaults = {
    arn = "arn:aws:iam::000000000000:role/made-up"
  }
}

mock_resource "aws_lb" {
  defaults = {
    arn = "arn:aws:elasticloadbalancing:eu-central-1:000000000000:loadbalancer/net/made-up/0"
  }
}

mock_resource "aws_lb_target_group" {
  defaults = {
    arn = "arn:aws:elasticloadbalancing:eu-central-1:000000000000:targetgroup/made-up/0"
  }
}

mock_resource "aws_s3_bucket" {
  defaults = {
    arn = "arn:aws:s3:::made-up"
  }
}

mock_resource "aws_secretsmanager_secret" {
  defaults = {
    arn = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:made-up-AbCdEf"
  }
}

mock_resource "aws_sns_topic" {
  defaults = {
    arn = "arn:aws:sns:eu-central-1:000000000000:made-up"
  }
}

mock_data "aws_route53_zone" {
  defaults = {
    zone_id = "Z0000000000000"
  }
}
