# A plan for three sites, with a stand-in for AWS.

mock_provider "aws" {
  source = "./tests/mocks/aws"
}

variables {
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  release        = "./tests/fixtures/release.tar.gz"

  regions = {
    "eu-central-1" = {
      cidr  = "10.10.0.0/16"
      pools = { cpu = { instance_types = ["c7i.2xlarge", "c6i.2xlarge"], min = 1, max = 6 } }
    }
    "us-east-1" = {
      cidr   = "10.20.0.0/16"
      images = { "stream-cpu" = "ami-0aaaaaaaaaaaaaaaa" }
      pools = {
        cpu = { instance_types = ["c7i.2xlarge"], min = 2, max = 4, on_demand_base = 2, spot_percent = 50, cache_gib = 250 }
        gpu = { instance_types = ["g6.xlarge", "g5.xlarge"], min = 0, max = 2, on_demand_base = 0, spot_percent = 100, local_cache = true }
      }
    }
    "ap-northeast-1" = {
      cidr       = "172.20.16.0/20"
      edge_nodes = 2
      pools      = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 1 } }
    }
  }
}

override_data {
  target = module.region["us-east-1"].data.aws_ami.made["stream-cpu"]
  values = { id = "ami-0aaaaaaaaaaaaaaaa", root_device_name = "/dev/sda1", architecture = "x86_64" }
}

run "three_sites" {
  command = plan

  # ---- three of everything

  assert {
    condition     = toset(keys(module.region)) == toset(["eu-central-1", "us-east-1", "ap-northeast-1"])
    error_message = "a region has no site"
  }

  assert {
    condition     = alltrue([for m in module.region : length(m.subnets.public) == 3 && length(m.subnets.private) == 3])
    error_message = "a site is not in three zones, public and private"
  }

  assert {
    condition     = { for n, m in module.region : n => m.vpc_cidr } == { for n, r in var.regions : n => r.cidr }
    error_message = "a site does not have the network of its region's cidr"
  }

  assert {
    condition = alltrue([for n, m in module.region : alltrue([
      for c in concat(values(m.subnets.public), values(m.subnets.private)) :
      cidrsubnet("${split("/", c)[0]}/${split("/", m.vpc_cidr)[1]}", 0, 0) == m.vpc_cidr
    ])])
    error_message = "a subnet is outside its site"
  }

  # All subnets of a site have one size, so they overlap only if one occurs twice.
  assert {
    condition     = length(distinct(flatten([for m in module.region : [values(m.subnets.public), values(m.subnets.private)]]))) == 18
    error_message = "subnets overlap"
  }

  assert {
    condition     = alltrue([for m in module.region : m.nodes["server"].scaling.min == 3 && m.nodes["server"].scaling.max == 3])
    error_message = "a site does not have three servers"
  }

  assert {
    condition     = { for n, m in module.region : n => m.nodes["edge"].scaling.min } == { "eu-central-1" = 3, "us-east-1" = 3, "ap-northeast-1" = 2 }
    error_message = "a site does not have edge_nodes edge nodes"
  }

  assert {
    condition     = toset(keys(module.peering)) == toset(["ap-northeast-1--eu-central-1", "ap-northeast-1--us-east-1", "eu-central-1--us-east-1"])
    error_message = "a pair of sites is not connected exactly once"
  }

  assert {
    condition     = toset(module.replication[0].to) == toset(["ap-northeast-1", "us-east-1"])
    error_message = "content is not replicated from the primary site to each other site"
  }

  assert {
    condition     = { for n, s in output.sites : n => s.backups.region } == { "eu-central-1" = "eu-west-1", "us-east-1" = "us-west-2", "ap-northeast-1" = "ap-northeast-3" }
    error_message = "the backups of a site lie in another region than regions.tf says"
  }

  # ---- open to the internet

  assert {
    condition     = alltrue([for m in module.region : toset(m.open) == toset(["lb tcp 443-443", "stream udp 20000-20999", "stream tcp 20000-20999"])])
    error_message = "more than 443 of the edge and the media ports is open"
  }

  assert {
    condition = alltrue([for m in module.region : toset([for r in m.inside : r if strcontains(r, " 80")]) == toset([
      "lb edge tcp 8080-8080", "lb edge tcp 8081-8081", "edge edge tcp 8090-8090", "edge edge tcp 8091-8091", "stream edge tcp 8091-8091",
    ])])
    error_message = "the internal ports of router and brain are not for edge nodes alone, and the brain's for the feeds of stream nodes"
  }

  assert {
    condition     = alltrue([for m in module.region : toset(m.entry.names) == toset(["nearcast-router", "nearcast-brain"])])
    error_message = "routers and brains do not have a load balancer each"
  }

  assert {
    condition     = alltrue([for m in module.region : toset(m.entry.listeners) == toset(["router TLS 443", "brain TLS 443"])])
    error_message = "a load balancer does not listen for TLS at 443 only"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for role, h in m.nodes : h.template.public == startswith(role, "stream-")]]))
    error_message = "not exactly the stream nodes have public addresses"
  }

  # ---- nodes

  assert {
    condition = alltrue(flatten([for m in module.region : [for h in m.nodes :
      h.template.metadata.http_tokens == "required" && h.template.metadata.http_put_response_hop_limit == 1
    ]]))
    error_message = "a node's metadata can be read without a token, or from another hop"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : h.template.encrypted]]))
    error_message = "a volume is not encrypted"
  }

  assert {
    condition = alltrue(flatten([for n, m in module.region : [for role, h in m.nodes :
      (h.template.image == "ami-0aaaaaaaaaaaaaaaa") == (n == "us-east-1" && role == "stream-cpu")
    ]]))
    error_message = "nodes of a role do not start from the role's image, or others do"
  }

  assert {
    condition     = module.region["us-east-1"].nodes["stream-cpu"].template.gib == [30, 250] && module.region["eu-central-1"].nodes["stream-cpu"].template.gib == [30, 100]
    error_message = "a content cache does not have the size of cache_gib"
  }

  assert {
    condition     = module.region["us-east-1"].nodes["stream-gpu"].template.gib == [50]
    error_message = "a pool with local_cache has a volume for its cache"
  }

  assert {
    condition = module.region["us-east-1"].nodes["stream-gpu"].scaling == {
      min   = 0, max = 2, rebalance = true, on_demand_base = 0, on_demand = 0
      types = ["g6.xlarge", "g5.xlarge"], protected = true, hook = "autoscaling:EC2_INSTANCE_TERMINATING"
    }
    error_message = "the gpu pool differs from its variables"
  }

  assert {
    condition = module.region["us-east-1"].nodes["stream-cpu"].scaling == {
      min   = 2, max = 4, rebalance = true, on_demand_base = 2, on_demand = 50
      types = ["c7i.2xlarge"], protected = true, hook = "autoscaling:EC2_INSTANCE_TERMINATING"
    }
    error_message = "the cpu pool differs from its variables"
  }

  # ---- replacement

  assert {
    condition     = [for c in output.replace_nodes["us-east-1"] : regex("--auto-scaling-group-name nearcast-([a-z-]+) ", c)[0]] == ["server", "edge", "stream-cpu", "stream-gpu"]
    error_message = "nodes are replaced in another order"
  }

  assert {
    condition = alltrue(flatten([for n, commands in output.replace_nodes : [for c in commands : [
      for p in [jsondecode(regex("--preferences '(.*)'$", c)[0])] : (
        p.MinHealthyPercentage == 100 && p.SkipMatching && length(p.CheckpointPercentages) == 2 && p.ScaleInProtectedInstances == "Refresh"
        && toset(p.AlarmSpecification.Alarms) == toset(["nearcast-servers", "nearcast-edge", "nearcast-router", "nearcast-brain"])
      )
    ]]]))
    error_message = "a replacement goes on when the site becomes worse: ${jsonencode(output.replace_nodes)}"
  }

  # The autoscaler's limits are those of the groups.
  assert {
    condition = {
      for n, s in output.sites : n => s.pools
      } == {
      "eu-central-1" = { "stream-cpu" = { group = "nearcast-stream-cpu", min = 1, max = 6 } }
      "us-east-1" = {
        "stream-cpu" = { group = "nearcast-stream-cpu", min = 2, max = 4 }
        "stream-gpu" = { group = "nearcast-stream-gpu", min = 0, max = 2 }
      }
      "ap-northeast-1" = { "stream-cpu" = { group = "nearcast-stream-cpu", min = 1, max = 1 } }
    }
    error_message = "the autoscaler gets other limits than the groups: ${jsonencode({ for n, s in output.sites : n => s.pools })}"
  }

  assert {
    condition = alltrue(flatten([for m in module.region : [for role in ["server", "edge"] :
      m.nodes[role].scaling.on_demand_base == m.nodes[role].scaling.max && m.nodes[role].scaling.on_demand == 100 && !m.nodes[role].scaling.rebalance
    ]]))
    error_message = "a server or an edge node may be spot"
  }

  # A larger and a smaller edge_nodes, and terraform destroy, work by the group alone there.
  assert {
    condition     = alltrue(flatten([for m in module.region : [for role, n in m.nodes : n.scaling.protected == startswith(role, "stream-")]]))
    error_message = "the group may end stream nodes on which people play, or not end servers and edge nodes"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : h.scaling.hook == "autoscaling:EC2_INSTANCE_TERMINATING"]]))
    error_message = "a node has no hook, and could not drain"
  }

  # ---- names

  assert {
    condition     = alltrue([for n, m in module.region : m.entry.nearest.name == "play.example.com" && m.entry.nearest.region == n && m.entry.nearest.target_health])
    error_message = "a site has no share of the common name, by latency"
  }

  assert {
    condition     = alltrue([for n, m in module.region : m.entry.target_checks.brain.path == "/room" && !m.entry.target_checks.brain.ends && m.entry.target_checks.router.path == "/healthz"])
    error_message = "a full brain gets new people, or loses those that it has"
  }

  assert {
    condition = alltrue([for n, m in module.region : m.entry.health_check.fqdn == "${n}.play.example.com"
    && m.entry.health_check.path == "/healthz" && m.entry.health_check.type == "HTTPS"])
    error_message = "a site's health check does not use the site's own name"
  }

  assert {
    condition     = output.sites["us-east-1"].brain_url == "wss://brain.us-east-1.play.example.com/v1/connect" && output.url == "https://play.example.com"
    error_message = "an address is not the one that jobs use"
  }
}

run "open_with_turn" {
  command = plan

  variables {
    turn = true
  }

  assert {
    condition = alltrue([for m in module.region : toset(m.open) == toset([
      "lb tcp 443-443", "stream udp 20000-20999", "stream tcp 20000-20999", "lb tcp 3478-3478", "lb udp 3478-3478", "edge udp 21000-21999",
    ])])
    error_message = "TURN opens other ports than it needs"
  }

  assert {
    condition     = alltrue([for m in module.region : toset(m.entry.listeners) == toset(["router TLS 443", "brain TLS 443", "turn TCP_UDP 3478", "turn TLS 443"])])
    error_message = "TURN does not listen for TLS at 443, for people whose network lets out nothing else"
  }

  assert {
    condition     = alltrue([for n, m in module.region : m.entry.certified == toset(["${n}.play.example.com", "brain.${n}.play.example.com", "turn.${n}.play.example.com", "play.example.com"])])
    error_message = "a certificate does not have exactly the names that balancers answer to"
  }

  assert {
    condition     = output.sites["us-east-1"].turn_urls == tolist(["turn:turn.us-east-1.play.example.com:3478", "turn:turn.us-east-1.play.example.com:3478?transport=tcp", "turns:turn.us-east-1.play.example.com:443?transport=tcp"])
    error_message = "brains are not told all ways to TURN"
  }

  assert {
    condition     = alltrue([for m in module.region : m.nodes["edge"].template.public && !m.nodes["server"].template.public])
    error_message = "with TURN, edge nodes need public addresses, and servers none"
  }
}

# What costs less, by options: one load balancer, and servers and edge nodes with arm64.
run "cheaper" {
  command = plan

  variables {
    primary_region = "us-east-1"
    regions = {
      "us-east-1" = {
        cidr   = "10.20.0.0/16"
        images = { "stream-cpu" = "ami-0aaaaaaaaaaaaaaaa" }
        pools = {
          cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 }
          gpu = { instance_types = ["g5.xlarge"], min = 0, max = 2, on_demand_base = 0 }
        }
      }
    }
    one_balancer  = true
    server_type   = "t4g.medium"
    edge_type     = "t4g.small"
    release_arm64 = "./tests/fixtures/release-arm64.tar.gz"
  }

  override_data {
    target = module.region["us-east-1"].data.aws_ami.this["arm64"]
    values = { id = "ami-0bbbbbbbbbbbbbbbb", root_device_name = "/dev/sda1", architecture = "arm64" }
  }

  assert {
    condition     = alltrue([for m in module.region : toset(m.entry.names) == toset(["nearcast-router"]) && toset(m.entry.listeners) == toset(["router TLS 443", "brain TLS 8443"])])
    error_message = "routers and brains have more than one load balancer, or other ports: ${jsonencode([for m in module.region : m.entry.listeners])}"
  }

  assert {
    condition     = alltrue([for m in module.region : toset(m.open) == toset(["lb tcp 443-443", "lb tcp 8443-8443", "stream udp 20000-20999", "stream tcp 20000-20999"])])
    error_message = "the brains' port is not open, or more is"
  }

  assert {
    condition     = output.sites["us-east-1"].brain_url == "wss://brain.us-east-1.play.example.com:8443/v1/connect"
    error_message = "browsers are led to another port than the brains': ${output.sites["us-east-1"].brain_url}"
  }

  # A site still has an alarm for each of them, which looks at its own targets.
  assert {
    condition     = alltrue([for m in module.region : toset(m.alarms.guards) == toset(["nearcast-servers", "nearcast-edge", "nearcast-router", "nearcast-brain"])])
    error_message = "a site does not know when no brain answers"
  }

  assert {
    condition = { for role, h in module.region["us-east-1"].nodes : role => "${h.scaling.types[0]} ${h.template.image} ${h.template.release}" } == {
      "server"     = "t4g.medium ami-0bbbbbbbbbbbbbbbb release/nearcast-arm64.tar.gz"
      "edge"       = "t4g.small ami-0bbbbbbbbbbbbbbbb release/nearcast-arm64.tar.gz"
      "stream-cpu" = "c7i.2xlarge ami-0aaaaaaaaaaaaaaaa release/nearcast.tar.gz"
      "stream-gpu" = "g5.xlarge ami-0123456789abcdef0 release/nearcast.tar.gz"
    }
    error_message = "a node does not get the image and the release of its architecture: ${jsonencode({ for role, h in module.region["us-east-1"].nodes : role => "${h.scaling.types[0]} ${h.template.image} ${h.template.release}" })}"
  }
}

run "one_site_alone" {
  command = plan

  variables {
    force_destroy = true
    regions = {
      "eu-central-1" = {
        cidr  = "10.10.0.0/16"
        pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } }
      }
    }
  }

  assert {
    condition     = length(module.peering) == 0 && length(module.replication) == 0 && length(module.region) == 1
    error_message = "a single site has connections"
  }
}

# An image may be given for a pool that the site does not have: it is not looked at.
run "spare_image" {
  command = plan

  variables {
    regions = {
      "eu-central-1" = {
        cidr   = "10.10.0.0/16"
        images = { "stream-gpu" = "ami-0aaaaaaaaaaaaaaaa" }
        pools  = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } }
      }
    }
  }

  assert {
    condition     = { for role, h in module.region["eu-central-1"].nodes : role => h.template.image } == { for role in ["server", "edge", "stream-cpu"] : role => "ami-0123456789abcdef0" }
    error_message = "a spare image changes nodes"
  }
}

# AWS lets a security group have 60 rules each way.
run "twelve_sites" {
  command = plan

  variables {
    turn = true
    regions = { for n, region in [
      "eu-central-1", "eu-west-1", "eu-west-2", "eu-north-1", "us-east-1", "us-east-2", "ca-central-1", "us-west-2",
      "ap-northeast-1", "ap-northeast-2", "ap-southeast-1", "ap-southeast-2",
    ] : region => { cidr = "10.${n}.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 2 } } } }
  }

  assert {
    condition     = length(module.region) == 12 && alltrue(flatten([for m in module.region : [for rules in values(m.rules) : rules <= 60]]))
    error_message = "a security group has more than 60 rules: ${jsonencode([for m in module.region : m.rules][0])}"
  }

  assert {
    condition = alltrue([for n, m in module.region :
    m.rules["wan"] + sum([for pair, p in module.peering : contains(split("--", pair), n) ? p.rules : 0]) <= 60])
    error_message = "a site has more than 60 rules for the other sites"
  }
}
