variable "name" {
  description = "Name of the cluster; the names of what is made begin with it. Two clusters of one account need two names."
  type        = string
  default     = "nearcast"

  validation {
    # The longest name made of it is a bucket's prefix, with at most 37 letters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.name))
    error_message = "name is ${jsonencode(var.name)}; give 2 to 12 lower case letters, digits and hyphens, a letter first and no hyphen last."
  }
}

variable "domain" {
  description = "Name at which people reach the cluster, such as play.example.com. Sites are below it: eu-central-1.play.example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$", var.domain)) && length(var.domain) <= 49
    error_message = "domain is ${jsonencode(var.domain)}; give a full host name in lower case without https:// and without a dot at its end and of at most 49 letters, such as play.example.com."
  }

  validation {
    condition     = var.domain == var.zone || endswith(var.domain, ".${var.zone}")
    error_message = "domain ${jsonencode(var.domain)} is not in the zone ${jsonencode(var.zone)}; give a name that is the zone's or ends with .${var.zone}."
  }
}

variable "zone" {
  description = "Name of the public Route 53 hosted zone, in this account, that domain is in: example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$", var.zone))
    error_message = "zone is ${jsonencode(var.zone)}; give the name of a hosted zone in lower case without a dot at its end, such as example.com."
  }
}

variable "primary_region" {
  description = "One of regions: where content is uploaded and secrets are made. It is Consul's primary datacenter and Nomad's authoritative region, so it is chosen once."
  type        = string

  validation {
    condition     = contains(keys(var.regions), var.primary_region)
    error_message = "primary_region is ${jsonencode(var.primary_region)}, which is not in regions; it must be one of: ${join(", ", keys(var.regions))}."
  }
}

variable "regions" {
  description = "The sites, by AWS region. A site's pools are its stream nodes: cpu renders in software, gpu on NVIDIA."
  nullable    = false
  type = map(object({
    cidr       = string              # the VPC: /16 to /20, private, no two sites alike
    edge_nodes = optional(number, 3) # nodes of routers and brains
    pools = map(object({
      instance_types = list(string)          # in order of preference; the more, the likelier spot
      min            = number                # nodes
      max            = number                # nodes
      on_demand_base = optional(number, 1)   # nodes that are never spot
      spot_percent   = optional(number, 80)  # of those beyond the base
      cache_gib      = optional(number, 100) # content cache of a node
      # Debian packages that the pool's apps need, such as f3d for jobs/viewer.
      packages = optional(list(string), [])
    }))
  }))

  # Each message names what is wrong, so each condition is written twice: a local
  # made of this variable cannot be used in its own validation.

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions is empty; give at least one, such as { \"eu-central-1\" = { cidr = \"10.10.0.0/16\", pools = { cpu = { ... } } } }. To remove everything use terraform destroy."
  }

  validation {
    condition     = length(setsubtract(keys(var.regions), local.known_regions)) == 0
    error_message = "regions names what is no AWS region: ${join(", ", setsubtract(keys(var.regions), local.known_regions))}. Known are: ${join(", ", local.known_regions)} (a newer one belongs into regions.tf)."
  }

  validation {
    condition     = length([for n, r in var.regions : "${n} (${r.cidr})" if !try(cidrsubnet(r.cidr, 0, 0) == r.cidr && contains(local.sizes, split("/", r.cidr)[1]) && anytrue([for p in local.private_networks : cidrsubnet("${split("/", r.cidr)[0]}/${split("/", p)[1]}", 0, 0) == p]), false)]) == 0
    error_message = "regions have a cidr that cannot be used: ${join(", ", [for n, r in var.regions : "${n} (${r.cidr})" if !try(cidrsubnet(r.cidr, 0, 0) == r.cidr && contains(local.sizes, split("/", r.cidr)[1]) && anytrue([for p in local.private_networks : cidrsubnet("${split("/", r.cidr)[0]}/${split("/", p)[1]}", 0, 0) == p]), false)])}. Give a private network (in ${join(", ", local.private_networks)}) of size /16 to /20 by its first address, such as 10.10.0.0/16."
  }

  # Two networks overlap if they are one at the size of the larger.
  validation {
    condition     = length(flatten([for i, a in keys(var.regions) : [for b in slice(keys(var.regions), i + 1, length(var.regions)) : "${a} (${var.regions[a].cidr}) and ${b} (${var.regions[b].cidr})" if try(length(distinct([for n in [a, b] : cidrsubnet("${split("/", var.regions[n].cidr)[0]}/${min([for m in [a, b] : tonumber(split("/", var.regions[m].cidr)[1])]...)}", 0, 0)])) == 1, false)]])) == 0
    error_message = "regions have networks that overlap, and could not be connected: ${join(", ", flatten([for i, a in keys(var.regions) : [for b in slice(keys(var.regions), i + 1, length(var.regions)) : "${a} (${var.regions[a].cidr}) and ${b} (${var.regions[b].cidr})" if try(length(distinct([for n in [a, b] : cidrsubnet("${split("/", var.regions[n].cidr)[0]}/${min([for m in [a, b] : tonumber(split("/", var.regions[m].cidr)[1])]...)}", 0, 0)])) == 1, false)]]))}."
  }

  validation {
    condition     = length([for n, r in var.regions : n if length(r.pools) == 0 || length(setsubtract(keys(r.pools), ["cpu", "gpu"])) > 0]) == 0
    error_message = "each region needs pools with the key cpu, gpu or both; not so in: ${join(", ", [for n, r in var.regions : n if length(r.pools) == 0 || length(setsubtract(keys(r.pools), ["cpu", "gpu"])) > 0])}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (min ${p.min}, max ${p.max})" if !(p.min >= 0 && p.min <= p.max && p.max >= 1 && floor(p.min) == p.min && floor(p.max) == p.max)]])) == 0
    error_message = "pools need whole numbers with 0 <= min <= max and max >= 1; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (min ${p.min}, max ${p.max})" if !(p.min >= 0 && p.min <= p.max && p.max >= 1 && floor(p.min) == p.min && floor(p.max) == p.max)]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (on_demand_base ${p.on_demand_base}, max ${p.max}, spot_percent ${p.spot_percent})" if !(p.on_demand_base >= 0 && p.on_demand_base <= p.max && floor(p.on_demand_base) == p.on_demand_base && p.spot_percent >= 0 && p.spot_percent <= 100 && floor(p.spot_percent) == p.spot_percent)]])) == 0
    error_message = "pools need whole numbers with 0 <= on_demand_base <= max and 0 <= spot_percent <= 100; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (on_demand_base ${p.on_demand_base}, max ${p.max}, spot_percent ${p.spot_percent})" if !(p.on_demand_base >= 0 && p.on_demand_base <= p.max && floor(p.on_demand_base) == p.on_demand_base && p.spot_percent >= 0 && p.spot_percent <= 100 && floor(p.spot_percent) == p.spot_percent)]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${join(" ", p.instance_types)})" if !(length(p.instance_types) > 0 && alltrue([for t in p.instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", t))]))]])) == 0
    error_message = "pools need instance types such as c7i.2xlarge, at least one; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${join(" ", p.instance_types)})" if !(length(p.instance_types) > 0 && alltrue([for t in p.instance_types : can(regex("^[a-z][a-z0-9-]*\\.[a-z0-9-]+$", t))]))]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.cache_gib})" if !(p.cache_gib >= 10 && p.cache_gib <= 16384 && floor(p.cache_gib) == p.cache_gib)]])) == 0
    error_message = "pools need a whole cache_gib from 10 to 16384; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.cache_gib})" if !(p.cache_gib >= 10 && p.cache_gib <= 16384 && floor(p.cache_gib) == p.cache_gib)]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : [for name in p.packages : "${n}/${k} (${name})" if !can(regex("^[a-z0-9][a-z0-9+.-]+$", name))]]])) == 0
    error_message = "packages are names of Debian packages, such as f3d; not so: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : [for name in p.packages : "${n}/${k} (${name})" if !can(regex("^[a-z0-9][a-z0-9+.-]+$", name))]]]))}."
  }

  validation {
    condition     = length([for n, r in var.regions : "${n} (${r.edge_nodes})" if !(r.edge_nodes >= 2 && r.edge_nodes <= 30 && floor(r.edge_nodes) == r.edge_nodes)]) == 0
    error_message = "edge_nodes must be a whole number from 2 to 30, so that a new version of the router can start beside the old one; not so in: ${join(", ", [for n, r in var.regions : "${n} (${r.edge_nodes})" if !(r.edge_nodes >= 2 && r.edge_nodes <= 30 && floor(r.edge_nodes) == r.edge_nodes)])}."
  }
}

variable "certificates" {
  description = "ARN of an ACM certificate by region, each for domain, <region>.domain and brain.<region>.domain. Empty: certificates are made and validated by DNS."
  type        = map(string)
  default     = {}

  validation {
    condition     = length(var.certificates) == 0 || toset(keys(var.certificates)) == toset(keys(var.regions))
    error_message = "certificates must be given for every region or for none; given: ${join(", ", keys(var.certificates))}; regions: ${join(", ", keys(var.regions))}."
  }

  validation {
    condition     = alltrue([for r, arn in var.certificates : can(regex("^arn:[a-z-]+:acm:${r}:[0-9]+:certificate/.+$", arn))])
    error_message = "certificates need the ARN of an ACM certificate in the region itself; not so for: ${join(", ", [for r, arn in var.certificates : r if !can(regex("^arn:[a-z-]+:acm:${r}:[0-9]+:certificate/.+$", arn))])}."
  }
}

variable "media_ports" {
  description = "UDP ports of stream nodes that browsers reach. A seat takes one for each of its addresses."
  type        = object({ from = number, to = number })
  default     = { from = 20000, to = 20999 }

  validation {
    # Consul and Nomad gossip by UDP below 10000, programs take theirs from 32768 on.
    condition     = var.media_ports.from >= 10000 && var.media_ports.from <= var.media_ports.to && var.media_ports.to <= 32767
    error_message = "media_ports are ${var.media_ports.from} to ${var.media_ports.to}; give a range within 10000 to 32767."
  }
}

variable "turn" {
  description = "Let edge nodes serve TURN, for people whose network lets no UDP out: opens 3478 and turn_ports, and gives edge nodes public addresses."
  type        = bool
  default     = false
}

variable "turn_ports" {
  description = "UDP ports on which TURN relays, where turn is true."
  type        = object({ from = number, to = number })
  default     = { from = 21000, to = 21999 }

  validation {
    condition     = var.turn_ports.from >= 10000 && var.turn_ports.from <= var.turn_ports.to && var.turn_ports.to <= 32767
    error_message = "turn_ports are ${var.turn_ports.from} to ${var.turn_ports.to}; give a range within 10000 to 32767."
  }
}

variable "server_type" {
  description = "Instance type of the three Consul and Nomad servers of a site."
  type        = string
  default     = "t3.medium"
}

variable "edge_type" {
  description = "Instance type of edge nodes. A router and a brain need some 20 MB each; TURN needs network."
  type        = string
  default     = "t3.small"
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone instead of one a site. With one, the loss of its zone keeps new servers and edge nodes from being set up; nothing that runs notices."
  type        = bool
  default     = false
}

variable "image_parameter" {
  description = "Public SSM parameter with the AMI of nodes: Ubuntu 24.04 or Debian 12, amd64."
  type        = string
  default     = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
}

variable "session_manager" {
  description = "Where nodes get the Session Manager agent from, the only way to a shell on them: AWS's package for Debian, of one version, and its checksum. Null: the image has it, as Ubuntu's do."
  type        = object({ url = string, sha256 = string })
  default     = null

  validation {
    condition     = var.session_manager != null || !startswith(var.image_parameter, "/aws/service/debian/")
    error_message = "Debian's image lacks the Session Manager agent, without which nobody gets to a node: give session_manager = { url, sha256 } of AWS's package (README.md, Session Manager, says where), or leave image_parameter out, for Ubuntu's image has it."
  }

  validation {
    condition     = var.session_manager == null ? true : startswith(var.session_manager.url, "https://") && can(regex("^[0-9a-f]{64}$", var.session_manager.sha256))
    error_message = "session_manager needs an https:// address and a SHA-256 of 64 hexadecimal digits."
  }
}

variable "release" {
  description = "The file that make release made: all that a node runs, and what sets it up."
  type        = string

  validation {
    condition     = endswith(var.release, ".tar.gz") && fileexists(var.release)
    error_message = "release is ${jsonencode(var.release)}; run make release, and give the file it names, such as ../dist/nearcast-v1.0.0-linux-amd64.tar.gz."
  }
}

variable "alarm_email" {
  description = "Who is written to by alarms, after confirming it; null: nobody, subscribe to the topics yourself."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null ? true : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alarm_email))
    error_message = "alarm_email is ${jsonencode(var.alarm_email)}, which is no address."
  }
}

variable "force_destroy" {
  description = "Destroying a bucket deletes what is in it. False: destroy stops at a bucket that is not empty."
  type        = bool
  default     = true
}

variable "tags" {
  description = "Tags for everything that can have one."
  type        = map(string)
  default     = {}
}
