terraform {
  # 1.9: a variable's validation may use other variables.
  required_version = ">= 1.9"

  required_providers {
    # 6: every regional resource has the argument region, so one provider is enough
    # and regions can be a map.
    aws = {
      source  = "hashicorp/aws"
      version = "~> 6.0"
    }
  }
}

provider "aws" {
  region = var.primary_region

  default_tags {
    tags = merge(var.tags, { nearcast = var.name })
  }
}
