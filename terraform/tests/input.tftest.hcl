# Wrong input is refused before any request to AWS. input_test.go has more of it, and
# checks the messages.

mock_provider "aws" {
  source = "./tests/mocks/aws"
}

variables {
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  release        = "./tests/fixtures/release.tar.gz"

  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    "us-east-1"    = { cidr = "10.20.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
  }
}

run "good" {
  command = plan
}

run "no_region" {
  command = plan

  variables {
    regions = {}
  }

  expect_failures = [var.regions]
}

run "unknown_region" {
  command = plan

  variables {
    regions = {
      "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
      "mars-north-1" = { cidr = "10.20.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    }
  }

  expect_failures = [var.regions]
}

run "network_within_network" {
  command = plan

  variables {
    regions = {
      "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
      "us-east-1"    = { cidr = "10.10.64.0/18", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    }
  }

  expect_failures = [var.regions]
}

run "max_below_min" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 5, max = 2 } } } }
  }

  expect_failures = [var.regions]
}

run "primary_elsewhere" {
  command = plan

  variables {
    primary_region = "sa-east-1"
  }

  expect_failures = [var.primary_region]
}

run "domain_elsewhere" {
  command = plan

  variables {
    domain = "play.example.org"
  }

  expect_failures = [var.domain]
}

run "name_in_capitals" {
  command = plan

  variables {
    name = "Nearcast"
  }

  expect_failures = [var.name]
}

run "media_among_gossip" {
  command = plan

  variables {
    media_ports = { from = 8000, to = 9000 }
  }

  expect_failures = [var.media_ports]
}

run "a_certificate_for_one_site" {
  command = plan

  variables {
    certificates = { "eu-central-1" = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up" }
  }

  expect_failures = [var.certificates]
}

run "nothing_built" {
  command = plan

  variables {
    release = "./tests/fixtures/nearcast-v1.0.0-linux-amd64.tar.gz"
  }

  expect_failures = [var.release]
}
