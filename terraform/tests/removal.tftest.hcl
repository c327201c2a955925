# The removal of a site changes no other: three are made, and one is removed from
# the map. A resource that a plan replaces has no known id, so the comparison fails.

mock_provider "aws" {
  source = "./tests/mocks/aws"
}

variables {
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  release        = "./tests/fixtures/release.tar.gz"

  regions = {
    "eu-central-1"   = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    "us-east-1"      = { cidr = "10.20.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    "ap-northeast-1" = { cidr = "10.30.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
  }
}

override_resource {
  target = module.region["eu-central-1"].module.entry.aws_acm_certificate.this[0]
  values = {
    arn = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up"
    domain_validation_options = [
      { domain_name = "eu-central-1.play.example.com", resource_record_name = "_proof.eu-central-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "brain.eu-central-1.play.example.com", resource_record_name = "_proof.brain.eu-central-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "play.example.com", resource_record_name = "_proof.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
    ]
  }
}

override_resource {
  target = module.region["us-east-1"].module.entry.aws_acm_certificate.this[0]
  values = {
    arn = "arn:aws:acm:us-east-1:000000000000:certificate/made-up"
    domain_validation_options = [
      { domain_name = "us-east-1.play.example.com", resource_record_name = "_proof.us-east-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "brain.us-east-1.play.example.com", resource_record_name = "_proof.brain.us-east-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "play.example.com", resource_record_name = "_proof.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
    ]
  }
}

override_resource {
  target = module.region["ap-northeast-1"].module.entry.aws_acm_certificate.this[0]
  values = {
    arn = "arn:aws:acm:ap-northeast-1:000000000000:certificate/made-up"
    domain_validation_options = [
      { domain_name = "ap-northeast-1.play.example.com", resource_record_name = "_proof.ap-northeast-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "brain.ap-northeast-1.play.example.com", resource_record_name = "_proof.brain.ap-northeast-1.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
      { domain_name = "play.example.com", resource_record_name = "_proof.play.example.com.", resource_record_type = "CNAME", resource_record_value = "_made-up." },
    ]
  }
}

run "three" {}

run "two" {
  command = plan

  # Meanwhile AWS has opened a zone that comes first. What stays does not move there.
  override_data {
    target = module.region["eu-central-1"].module.network.data.aws_availability_zones.this
    values = { names = ["eu-central-1-new", "eu-central-1a", "eu-central-1b", "eu-central-1c"] }
  }

  variables {
    regions = {
      "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
      "us-east-1"    = { cidr = "10.20.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    }
  }

  assert {
    condition     = output.sites == { for n, s in run.three.sites : n => s if n != "ap-northeast-1" }
    error_message = "a site that stays would change"
  }

  assert {
    condition     = toset(keys(module.region)) == toset(["eu-central-1", "us-east-1"]) && keys(module.peering) == ["eu-central-1--us-east-1"]
    error_message = "more than the site and its connections would be removed"
  }

  assert {
    condition     = module.replication[0].to == ["us-east-1"]
    error_message = "content would still be replicated to the removed site"
  }
}
