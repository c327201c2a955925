# What cannot be is refused before anything is asked of AWS. That the messages
# name what is wrong is checked by terraform_test.go.

mock_provider "aws" {
  source = "./tests/mocks"
}

mock_provider "archive" {}

variables {
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  provision_dir  = "./tests/fixtures/provision"
  release_dir    = "./tests/fixtures/bin"

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

run "two_zones_only" {
  command = plan

  variables {
    regions = {
      "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
      "us-west-1"    = { cidr = "10.20.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    }
  }

  expect_failures = [var.regions]
}

run "same_network" {
  command = plan

  variables {
    regions = {
      "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
      "us-east-1"    = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
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

run "no_network" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "public_network" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "11.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "host_for_network" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.1/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "small_network" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/24", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "big_network" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.0.0.0/8", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
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

run "min_below_zero" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = -1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "max_zero" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 0, max = 0, on_demand_base = 0 } } } }
  }

  expect_failures = [var.regions]
}

run "half_a_host" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1.5, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "base_above_max" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6, on_demand_base = 7 } } } }
  }

  expect_failures = [var.regions]
}

run "spot_above_all" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6, spot_percent = 101 } } } }
  }

  expect_failures = [var.regions]
}

run "no_type" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = [], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "bad_type" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["large"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "no_pool" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = {} } }
  }

  expect_failures = [var.regions]
}

run "unknown_pool" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { tpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
  }

  expect_failures = [var.regions]
}

run "tiny_cache" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6, cache_gib = 1 } } } }
  }

  expect_failures = [var.regions]
}

run "one_edge_host" {
  command = plan

  variables {
    regions = { "eu-central-1" = { cidr = "10.10.0.0/16", edge_hosts = 1, pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } } }
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

run "domain_with_scheme" {
  command = plan

  variables {
    domain = "https://play.example.com"
  }

  expect_failures = [var.domain]
}

run "domain_without_dots" {
  command = plan

  variables {
    domain = "play"
    zone   = "play"
  }

  expect_failures = [var.zone]
}

run "domain_elsewhere" {
  command = plan

  variables {
    domain = "play.example.org"
  }

  expect_failures = [var.domain]
}

run "domain_that_only_ends_alike" {
  command = plan

  variables {
    domain = "badexample.com"
  }

  expect_failures = [var.domain]
}

run "domain_too_long_for_a_certificate" {
  command = plan

  variables {
    domain = "a-domain-with-a-very-long-name-indeed-it-is.play.example.com"
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

run "name_too_long" {
  command = plan

  variables {
    name = "nearcast-production"
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

run "media_backwards" {
  command = plan

  variables {
    media_ports = { from = 20999, to = 20000 }
  }

  expect_failures = [var.media_ports]
}

run "turn_backwards" {
  command = plan

  variables {
    turn_ports = { from = 21999, to = 21000 }
  }

  expect_failures = [var.turn_ports]
}

run "a_certificate_for_one_site" {
  command = plan

  variables {
    certificates = { "eu-central-1" = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up" }
  }

  expect_failures = [var.certificates]
}

run "a_certificate_of_another_region" {
  command = plan

  variables {
    certificates = {
      "eu-central-1" = "arn:aws:acm:us-east-1:000000000000:certificate/made-up"
      "us-east-1"    = "arn:aws:acm:us-east-1:000000000000:certificate/made-up"
    }
  }

  expect_failures = [var.certificates]
}

run "no_mail" {
  command = plan

  variables {
    alarm_email = "nobody"
  }

  expect_failures = [var.alarm_email]
}

run "nothing_built" {
  command = plan

  variables {
    release_dir = "./tests/fixtures/provision"
  }

  expect_failures = [var.release_dir]
}

run "nothing_to_set_up_from" {
  command = plan

  variables {
    provision_dir = "./tests/fixtures/bin"
  }

  expect_failures = [var.provision_dir]
}
