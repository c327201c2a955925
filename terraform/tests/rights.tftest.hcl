# The rights of nodes, read from the policies. Policies contain names of resources, so
# the resources are made here, by a stand-in for AWS.

mock_provider "aws" {
  source = "./tests/mocks/aws"
}

variables {
  domain         = "play.example.com"
  zone           = "example.com"
  primary_region = "eu-central-1"
  release        = "./tests/fixtures/release.tar.gz"
  certificates = {
    "eu-central-1" = "arn:aws:acm:eu-central-1:000000000000:certificate/made-up"
    "us-east-1"    = "arn:aws:acm:us-east-1:000000000000:certificate/made-up"
  }

  image_parameter = "/aws/service/debian/release/12/latest/amd64"
  session_manager = { url = "https://example.com/agent.deb", sha256 = "0000000000000000000000000000000000000000000000000000000000000000" }

  regions = {
    "eu-central-1" = { cidr = "10.10.0.0/16", pools = { cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6 } } }
    "us-east-1" = {
      cidr          = "10.20.0.0/16"
      backup_region = "ca-central-1"
      pools = {
        cpu = { instance_types = ["c7i.2xlarge"], min = 1, max = 6, packages = ["f3d", "neverball"] }
        gpu = { instance_types = ["g6.xlarge"], min = 0, max = 6, local_cache = true, gpu_seats = 3 }
      }
    }
  }
}

override_resource {
  target = module.region["eu-central-1"].module.storage.aws_s3_bucket.this["content"]
  values = { id = "content-eu", arn = "arn:aws:s3:::content-eu" }
}

override_resource {
  target = module.region["eu-central-1"].module.storage.aws_s3_bucket.this["system"]
  values = { id = "system-eu", arn = "arn:aws:s3:::system-eu" }
}

override_resource {
  target = module.region["us-east-1"].module.storage.aws_s3_bucket.this["content"]
  values = { id = "content-us", arn = "arn:aws:s3:::content-us" }
}

override_resource {
  target = module.region["us-east-1"].module.storage.aws_s3_bucket.this["system"]
  values = { id = "system-us", arn = "arn:aws:s3:::system-us" }
}

override_resource {
  target = module.region["eu-central-1"].module.storage.aws_s3_bucket.this["backups"]
  values = { id = "backups-eu", arn = "arn:aws:s3:::backups-eu" }
}

override_resource {
  target = module.region["eu-central-1"].aws_secretsmanager_secret.this["nodes"]
  values = { arn = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:nearcast/nodes-AbCdEf" }
}

override_resource {
  target = module.region["eu-central-1"].aws_secretsmanager_secret.this["edge"]
  values = { arn = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:nearcast/edge-AbCdEf" }
}

override_resource {
  target = module.region["eu-central-1"].aws_secretsmanager_secret.this["servers"]
  values = { arn = "arn:aws:secretsmanager:eu-central-1:000000000000:secret:nearcast/servers-AbCdEf" }
}

override_resource {
  target = module.region["us-east-1"].module.storage.aws_s3_bucket.this["backups"]
  values = { id = "backups-us", arn = "arn:aws:s3:::backups-us" }
}

override_resource {
  target = module.region["us-east-1"].aws_secretsmanager_secret.this["nodes"]
  values = { arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/nodes-AbCdEf" }
}

override_resource {
  target = module.region["us-east-1"].aws_secretsmanager_secret.this["edge"]
  values = { arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/edge-AbCdEf" }
}

override_resource {
  target = module.region["us-east-1"].aws_secretsmanager_secret.this["servers"]
  values = { arn = "arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/servers-AbCdEf" }
}

run "rights" {
  # ---- buckets

  # A node has only these rights in S3.
  assert {
    condition = toset(flatten([for s in jsondecode(module.region["us-east-1"].nodes["stream-cpu"].policy).Statement : [
      for a in s.Action : [for r in s.Resource : "${s.Effect} ${a} ${r}"] if startswith(a, "s3:")
      ]])) == toset([
      "Allow s3:GetObject arn:aws:s3:::content-us/*",
      "Allow s3:GetObjectVersion arn:aws:s3:::content-us/*",
      "Allow s3:ListBucket arn:aws:s3:::content-us",
      "Allow s3:GetObject arn:aws:s3:::system-us/release/*",
      "Allow s3:GetObjectVersion arn:aws:s3:::system-us/release/*",
      "Allow s3:PutObject arn:aws:s3:::system-us/nodes/nearcast-stream-cpu/*",
    ])
    error_message = "a stream node has other rights than to read its own site's content and the release, and to report"
  }

  assert {
    condition     = [for s in jsondecode(module.region["us-east-1"].nodes["stream-gpu"].policy).Statement : s if contains(["ReadContent", "ListContent"], s.Sid)] == [for s in jsondecode(module.region["us-east-1"].nodes["stream-cpu"].policy).Statement : s if contains(["ReadContent", "ListContent"], s.Sid)]
    error_message = "the pools differ in what they may read"
  }

  assert {
    condition = toset(flatten([for s in jsondecode(module.region["us-east-1"].nodes["edge"].policy).Statement : [
      for a in s.Action : [for r in s.Resource : "${s.Effect} ${a} ${r}"] if startswith(a, "s3:")
      ]])) == toset([
      "Allow s3:GetObject arn:aws:s3:::system-us/release/*",
      "Allow s3:GetObjectVersion arn:aws:s3:::system-us/release/*",
      "Allow s3:PutObject arn:aws:s3:::system-us/nodes/nearcast-edge/*",
      "Allow s3:GetObject arn:aws:s3:::system-us/events/*",
      "Allow s3:PutObject arn:aws:s3:::system-us/events/*",
      "Allow s3:DeleteObject arn:aws:s3:::system-us/events/*",
      "Allow s3:ListBucket arn:aws:s3:::system-us",
    ])
    error_message = "an edge node has other rights than to read the release, to report and to keep events"
  }

  assert {
    condition = toset(flatten([for s in jsondecode(module.region["us-east-1"].nodes["server"].policy).Statement : [
      for a in s.Action : [for r in s.Resource : "${s.Effect} ${a} ${r}"] if startswith(a, "s3:")
      ]])) == toset([
      "Allow s3:GetObject arn:aws:s3:::system-us/release/*",
      "Allow s3:GetObjectVersion arn:aws:s3:::system-us/release/*",
      "Allow s3:PutObject arn:aws:s3:::backups-us/backups/*",
      "Allow s3:PutObject arn:aws:s3:::system-us/backups/*", # servers of the release before
      "Allow s3:PutObject arn:aws:s3:::system-us/nodes/nearcast-server/*",
    ])
    error_message = "a server has other rights than to read the release, to write backups and to report"
  }

  # The same for all nodes of all sites. Only edge nodes keep events.
  assert {
    condition = alltrue(flatten([for m in module.region : [for role, h in m.nodes : [for s in jsondecode(h.policy).Statement : [
      for a in s.Action : contains(["s3:GetObject", "s3:GetObjectVersion", "s3:ListBucket"], a) || (a == "s3:PutObject" && alltrue([for r in s.Resource :
        r == "${m.system.arn}/nodes/nearcast-${role}/*" || (role == "server" && contains(["${m.backups.arn}/backups/*", "${m.system.arn}/backups/*"], r))
      ])) || (role == "edge" && contains(["s3:PutObject", "s3:DeleteObject"], a) && s.Resource == ["${m.system.arn}/events/*"])
      if startswith(a, "s3:") || strcontains(split(":", a)[0], "*")
    ]]]]))
    error_message = "a node may write a bucket"
  }

  # ---- everything else

  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : [for s in jsondecode(h.policy).Statement : [for a in s.Action : !strcontains(a, "*")]]]]))
    error_message = "a policy has a wildcard in an action"
  }

  # AWS has no resources for these actions.
  assert {
    condition = alltrue(flatten([for m in module.region : [for h in m.nodes : [for s in jsondecode(h.policy).Statement : [for a in s.Action :
      contains(["Join", "Sessions", "SeePools", "SeeGroup"], s.Sid)
    ] if contains(s.Resource, "*")]]]))
    error_message = "a policy has all resources where AWS allows single ones"
  }

  assert {
    condition     = [for s in jsondecode(module.region["us-east-1"].nodes["stream-cpu"].policy).Statement : s.Resource if s.Sid == "Secrets"] == [["arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/nodes-AbCdEf"]]
    error_message = "a stream node may read other secrets than those for all nodes"
  }

  assert {
    condition = toset(flatten([for s in jsondecode(module.region["us-east-1"].nodes["edge"].policy).Statement : s.Resource if s.Sid == "Secrets"])) == toset([
      "arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/edge-AbCdEf", "arn:aws:secretsmanager:us-east-1:000000000000:secret:nearcast/nodes-AbCdEf",
    ])
    error_message = "an edge node may read other secrets than its own and those for all nodes"
  }

  # Servers of another site copy the secrets, and never write them at the primary site.
  assert {
    condition = alltrue(flatten([for s in jsondecode(module.region["us-east-1"].nodes["server"].policy).Statement : [
      for r in s.Resource : startswith(r, "arn:aws:secretsmanager:us-east-1:")
    ] if contains(s.Action, "secretsmanager:PutSecretValue")]))
    error_message = "a server of another site may write the primary site's secrets"
  }

  assert {
    condition = alltrue([for role in ["edge", "stream-cpu", "stream-gpu"] :
      !strcontains(module.region["us-east-1"].nodes[role].policy, "secretsmanager:PutSecretValue")
    ])
    error_message = "a node other than a server may write secrets"
  }

  assert {
    condition = toset(flatten([for s in jsondecode(module.region["us-east-1"].nodes["server"].policy).Statement : s.Resource if s.Sid == "ScalePools"])) == toset([
      "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:*:autoScalingGroupName/nearcast-stream-cpu",
      "arn:aws:autoscaling:us-east-1:000000000000:autoScalingGroup:*:autoScalingGroupName/nearcast-stream-gpu",
    ])
    error_message = "the autoscaler may resize other groups than its site's pools"
  }

  assert {
    condition = alltrue(flatten([for n, m in module.region : [for role, h in m.nodes : [
      for s in jsondecode(h.policy).Statement : s.Resource == ["arn:aws:autoscaling:${n}:000000000000:autoScalingGroup:*:autoScalingGroupName/nearcast-${role}"]
      if s.Sid == "StartAndEndInOrder"
    ]]]))
    error_message = "a node cannot say that it is ready or drained, or may say so for another group"
  }

  assert {
    condition = alltrue(flatten([for n, m in module.region : [for role, h in m.nodes :
      join(" ", flatten([for s in jsondecode(h.policy).Statement : s.Resource if contains(s.Action, "autoscaling:SetInstanceHealth")]))
      == (role == "server" ? "" : "arn:aws:autoscaling:${n}:000000000000:autoScalingGroup:*:autoScalingGroupName/nearcast-${role}")
    ]]))
    error_message = "a node may give up nodes of another group, or a server may be given up"
  }

  assert {
    condition = alltrue(flatten([for n, m in module.region : [for role, h in m.nodes : [
      for s in jsondecode(h.policy).Statement : s.Action == ["s3:PutObject"] && endswith(s.Resource[0], "/nodes/nearcast-${role}/*") && length(s.Resource) == 1
      if s.Sid == "Report"
    ]]]))
    error_message = "a node may write more than the reports of its own group"
  }

  # ---- the environment of nodes

  # The environment is the contract with provision/; README.md lists it.
  assert {
    condition = alltrue([for line in [
      "NEARCAST_ROLE='stream'", "NEARCAST_POOL='stream-gpu'", "NEARCAST_GPU='yes'", "NEARCAST_GPU_SEATS='3'", "NEARCAST_SITE='us-east-1'", "NEARCAST_PRIMARY_SITE='eu-central-1'",
      "NEARCAST_JOIN='provider=aws addr_type=private_v4 tag_key=nearcast-server tag_value=nearcast region=us-east-1'",
      "NEARCAST_CONTENT_BUCKET='content-us'", "NEARCAST_MEDIA_PORTS='20000-20999'", "NEARCAST_CACHE_DEVICE='local'", "NEARCAST_CACHE_GIB='100'", "NEARCAST_ASG='nearcast-stream-gpu'", "NEARCAST_HOOK='drain'", "NEARCAST_READY_HOOK='ready'",
    ] : contains(split("\n", module.region["us-east-1"].nodes["stream-gpu"].template.user_data), line)])
    error_message = "a stream node has another environment"
  }

  assert {
    condition = (
      contains(split("\n", module.region["us-east-1"].nodes["stream-cpu"].template.user_data), "NEARCAST_PACKAGES='f3d neverball'")
      && contains(split("\n", module.region["us-east-1"].nodes["stream-gpu"].template.user_data), "NEARCAST_PACKAGES=''")
    )
    error_message = "a pool's nodes do not get the packages that its apps need"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : contains(split("\n", h.template.user_data), "NEARCAST_SSM_AGENT_URL='https://example.com/agent.deb'")]]))
    error_message = "a node does not get the URL of the Session Manager agent"
  }

  assert {
    condition = (
      contains(split("\n", module.region["eu-central-1"].nodes["server"].template.user_data), "NEARCAST_JOIN_WAN=''")
      && contains(split("\n", module.region["us-east-1"].nodes["server"].template.user_data), "NEARCAST_JOIN_WAN='provider=aws addr_type=private_v4 tag_key=nearcast-server tag_value=nearcast region=eu-central-1'")
    )
    error_message = "sites do not join the primary one"
  }

  # Backups lie in another region than the site; backup_region names another one than the default.
  assert {
    condition = (
      alltrue([for line in ["NEARCAST_BACKUP_URL='s3://backups-eu/backups'", "NEARCAST_BACKUP_REGION='eu-west-1'"] : contains(split("\n", module.region["eu-central-1"].nodes["server"].template.user_data), line)])
      && alltrue([for line in ["NEARCAST_BACKUP_URL='s3://backups-us/backups'", "NEARCAST_BACKUP_REGION='ca-central-1'"] : contains(split("\n", module.region["us-east-1"].nodes["server"].template.user_data), line)])
      && { for n, s in output.sites : n => s.backups } == { "eu-central-1" = { bucket = "backups-eu", region = "eu-west-1" }, "us-east-1" = { bucket = "backups-us", region = "ca-central-1" } }
    )
    error_message = "servers or operators are not told where the backups lie: ${jsonencode({ for n, s in output.sites : n => s.backups })}"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for role, h in m.nodes : role == "server" || !strcontains(h.template.user_data, "nearcast/servers")]]))
    error_message = "a node other than a server gets the name of the servers' secret"
  }

  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : strcontains(h.template.user_data, ".amazonaws.test/$path")]]))
    error_message = "a node downloads its release from another partition of AWS"
  }

  # EC2 allows 16 KiB.
  assert {
    condition     = alltrue(flatten([for m in module.region : [for h in m.nodes : length(h.template.user_data) < 4096 && startswith(h.template.user_data, "#!/bin/sh\n")]]))
    error_message = "user data is too large, or not a script"
  }
}
