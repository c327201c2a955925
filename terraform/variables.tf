variable "name" {
  description = "Name of the cluster; the names of all resources begin with it. Two clusters in one account need two names."
  type        = string
  default     = "nearcast"

  validation {
    # The longest name made of it is a bucket's prefix, with at most 37 letters.
    condition     = can(regex("^[a-z][a-z0-9-]{0,10}[a-z0-9]$", var.name))
    error_message = "name is ${jsonencode(var.name)}; give 2 to 12 lower case letters, digits and hyphens, a letter first and no hyphen last."
  }
}

variable "domain" {
  description = "Domain name of the cluster for people, such as play.example.com. Sites are below it: eu-central-1.play.example.com."
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
  description = "Public Route 53 hosted zone of the domain, in this account: example.com."
  type        = string

  validation {
    condition     = can(regex("^([a-z0-9]([a-z0-9-]{0,61}[a-z0-9])?\\.)+[a-z]([a-z0-9-]{0,61}[a-z0-9])$", var.zone))
    error_message = "zone is ${jsonencode(var.zone)}; give the name of a hosted zone in lower case without a dot at its end, such as example.com."
  }
}

variable "primary_region" {
  description = "One of regions: the primary site, where content is uploaded and secrets are made. It is Consul's primary datacenter and Nomad's authoritative region: nearcast cloud promote changes it, in steps."
  type        = string

  validation {
    condition     = contains(keys(var.regions), var.primary_region)
    error_message = "primary_region is ${jsonencode(var.primary_region)}, which is not in regions; it must be one of: ${join(", ", keys(var.regions))}."
  }
}

variable "regions" {
  description = "The sites, by AWS region. The pools of a site are its stream nodes: cpu renders in software, gpu on NVIDIA."
  nullable    = false
  type = map(object({
    cidr       = string              # the VPC: /16 to /20, private, different for each site
    edge_nodes = optional(number, 3) # nodes for routers and brains
    pools = map(object({
      instance_types = list(string)          # in order of preference; more types make spot likelier
      min            = number                # nodes
      max            = number                # nodes
      on_demand_base = optional(number, 1)   # nodes that are never spot
      spot_percent   = optional(number, 80)  # of the nodes above the base
      cache_gib      = optional(number, 100) # content cache of a node
      # The cache is on the largest local disk of a node (g5, g6, c6id …), and there is no volume for
      # it. cache_gib limits it still.
      local_cache = optional(bool, false)
      gpu_seats   = optional(number, 1) # seats that each GPU of a gpu pool is offered as
      # Debian packages that the pool's apps need, such as f3d for jobs/viewer.
      packages = optional(list(string), [])
    }))
    # AMIs that provision/image made, by role: server, edge, stream-cpu, stream-gpu.
    # Other roles start from image_parameter, and take minutes longer.
    images = optional(map(string), {})
    # Where the servers' backups lie: another region than the site's, which need not have a site.
    # Null: the one that regions.tf names. A change leaves old backups behind: README.md, "Backups".
    backup_region = optional(string)
  }))

  # Each message names what is wrong, so each condition is here twice: a validation
  # cannot use a local that depends on its variable.

  validation {
    condition     = length(var.regions) > 0
    error_message = "regions is empty; give at least one, such as { \"eu-central-1\" = { cidr = \"10.10.0.0/16\", pools = { cpu = { ... } } } }. To remove everything use terraform destroy."
  }

  validation {
    condition     = length(setsubtract(keys(var.regions), local.known_regions)) == 0
    error_message = "regions has unknown AWS regions: ${join(", ", setsubtract(keys(var.regions), local.known_regions))}. Known are: ${join(", ", local.known_regions)} (add a newer one to regions.tf)."
  }

  validation {
    condition     = length([for n, r in var.regions : "${n} (${r.cidr})" if !try(cidrsubnet(r.cidr, 0, 0) == r.cidr && contains(local.sizes, split("/", r.cidr)[1]) && anytrue([for p in local.private_networks : cidrsubnet("${split("/", r.cidr)[0]}/${split("/", p)[1]}", 0, 0) == p]), false)]) == 0
    error_message = "regions has a cidr that is not allowed: ${join(", ", [for n, r in var.regions : "${n} (${r.cidr})" if !try(cidrsubnet(r.cidr, 0, 0) == r.cidr && contains(local.sizes, split("/", r.cidr)[1]) && anytrue([for p in local.private_networks : cidrsubnet("${split("/", r.cidr)[0]}/${split("/", p)[1]}", 0, 0) == p]), false)])}. Give a private network (in ${join(", ", local.private_networks)}) of size /16 to /20 by its first address, such as 10.10.0.0/16."
  }

  # Two networks overlap if they are equal at the size of the larger one.
  validation {
    condition     = length(flatten([for i, a in keys(var.regions) : [for b in slice(keys(var.regions), i + 1, length(var.regions)) : "${a} (${var.regions[a].cidr}) and ${b} (${var.regions[b].cidr})" if try(length(distinct([for n in [a, b] : cidrsubnet("${split("/", var.regions[n].cidr)[0]}/${min([for m in [a, b] : tonumber(split("/", var.regions[m].cidr)[1])]...)}", 0, 0)])) == 1, false)]])) == 0
    error_message = "regions has networks that overlap, so their sites cannot be connected: ${join(", ", flatten([for i, a in keys(var.regions) : [for b in slice(keys(var.regions), i + 1, length(var.regions)) : "${a} (${var.regions[a].cidr}) and ${b} (${var.regions[b].cidr})" if try(length(distinct([for n in [a, b] : cidrsubnet("${split("/", var.regions[n].cidr)[0]}/${min([for m in [a, b] : tonumber(split("/", var.regions[m].cidr)[1])]...)}", 0, 0)])) == 1, false)]]))}."
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
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : [for t in p.instance_types : "${n}/${k} (${t})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", t))]]])) == 0
    error_message = "stream nodes are amd64, and these instance types have arm64: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : [for t in p.instance_types : "${n}/${k} (${t})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", t))]]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.cache_gib})" if !(p.cache_gib >= 10 && p.cache_gib <= 16384 && floor(p.cache_gib) == p.cache_gib)]])) == 0
    error_message = "pools need a whole cache_gib from 10 to 16384; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.cache_gib})" if !(p.cache_gib >= 10 && p.cache_gib <= 16384 && floor(p.cache_gib) == p.cache_gib)]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.gpu_seats})" if !(p.gpu_seats >= 1 && p.gpu_seats <= 64 && floor(p.gpu_seats) == p.gpu_seats && (k == "gpu" || p.gpu_seats == 1))]])) == 0
    error_message = "a gpu pool has a whole gpu_seats from 1 to 64, and other pools have none; not so in: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : "${n}/${k} (${p.gpu_seats})" if !(p.gpu_seats >= 1 && p.gpu_seats <= 64 && floor(p.gpu_seats) == p.gpu_seats && (k == "gpu" || p.gpu_seats == 1))]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for role, ami in r.images : "${n}/${role} (${ami})" if !contains(["server", "edge", "stream-cpu", "stream-gpu"], role) || !can(regex("^ami-[0-9a-f]+$", ami))]])) == 0
    error_message = "images must be AMIs (ami- and hexadecimal digits) by role: server, edge, stream-cpu, stream-gpu; not so: ${join(", ", flatten([for n, r in var.regions : [for role, ami in r.images : "${n}/${role} (${ami})" if !contains(["server", "edge", "stream-cpu", "stream-gpu"], role) || !can(regex("^ami-[0-9a-f]+$", ami))]]))}."
  }

  validation {
    condition     = length(flatten([for n, r in var.regions : [for k, p in r.pools : [for name in p.packages : "${n}/${k} (${name})" if !can(regex("^[a-z0-9][a-z0-9+.-]+$", name))]]])) == 0
    error_message = "packages must be names of Debian packages, such as f3d; not so: ${join(", ", flatten([for n, r in var.regions : [for k, p in r.pools : [for name in p.packages : "${n}/${k} (${name})" if !can(regex("^[a-z0-9][a-z0-9+.-]+$", name))]]]))}."
  }

  validation {
    condition     = length([for n, r in var.regions : "${n} (${r.backup_region})" if r.backup_region != null && try(r.backup_region == n || !contains(local.known_regions, r.backup_region), false)]) == 0
    error_message = "backup_region must be a known region other than the site's own, so that backups outlive it; not so in: ${join(", ", [for n, r in var.regions : "${n} (${r.backup_region})" if r.backup_region != null && try(r.backup_region == n || !contains(local.known_regions, r.backup_region), false)])}."
  }

  validation {
    condition     = length([for n, r in var.regions : "${n} (${r.edge_nodes})" if !(r.edge_nodes >= 2 && r.edge_nodes <= 30 && floor(r.edge_nodes) == r.edge_nodes)]) == 0
    error_message = "edge_nodes must be a whole number from 2 to 30, so that a new version of the router can start before the old one stops; not so in: ${join(", ", [for n, r in var.regions : "${n} (${r.edge_nodes})" if !(r.edge_nodes >= 2 && r.edge_nodes <= 30 && floor(r.edge_nodes) == r.edge_nodes)])}."
  }
}

variable "certificates" {
  description = "ARN of an ACM certificate by region, each for domain, <region>.domain and brain.<region>.domain. Empty: Terraform makes certificates and validates them by DNS."
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
  description = "Ports of stream nodes that browsers reach, by UDP and TCP. A seat uses one of UDP for each of its addresses, and one of TCP."
  type        = object({ from = number, to = number })
  default     = { from = 20000, to = 20999 }

  validation {
    # Consul and Nomad gossip by UDP below 10000; outgoing connections use 32768 and
    # above.
    condition     = var.media_ports.from >= 10000 && var.media_ports.from <= var.media_ports.to && var.media_ports.to <= 32767
    error_message = "media_ports are ${var.media_ports.from} to ${var.media_ports.to}; give a range within 10000 to 32767."
  }
}

variable "one_balancer" {
  description = "One load balancer for routers and brains, in place of two: it costs less, and brains are at port 8443. People whose network lets out nothing but 443 then reach the router, and get no session."
  type        = bool
  default     = false
}

variable "turn" {
  description = "TURN on edge nodes, for people whose network blocks outgoing UDP: opens 3478 and turn_ports, gives edge nodes public addresses, and makes a third load balancer, which takes TLS at 443."
  type        = bool
  default     = false
}

variable "turn_ports" {
  description = "UDP ports for TURN's relays, if turn is true."
  type        = object({ from = number, to = number })
  default     = { from = 21000, to = 21999 }

  validation {
    condition     = var.turn_ports.from >= 10000 && var.turn_ports.from <= var.turn_ports.to && var.turn_ports.to <= 32767
    error_message = "turn_ports are ${var.turn_ports.from} to ${var.turn_ports.to}; give a range within 10000 to 32767."
  }
}

variable "server_type" {
  description = "Instance type of the three Consul and Nomad servers of a site; with arm64, such as t4g.medium, it needs release_arm64."
  type        = string
  default     = "t3.medium"
}

variable "edge_type" {
  description = "Instance type of edge nodes. A router and a brain need about 20 MB each; TURN needs bandwidth. With arm64, such as t4g.small, it needs release_arm64."
  type        = string
  default     = "t3.small"
}

variable "nat_per_zone" {
  description = "A NAT gateway in each zone instead of one for the site. With one, no new servers and edge nodes can be set up after the loss of its zone; what runs continues."
  type        = bool
  default     = false
}

variable "image_parameter" {
  description = "Public SSM parameter with the AMI of nodes: Ubuntu 24.04 or Debian 12, amd64."
  type        = string
  default     = "/aws/service/canonical/ubuntu/server/24.04/stable/current/amd64/hvm/ebs-gp3/ami-id"
}

variable "image_parameter_arm64" {
  description = "The same for servers and edge nodes with arm64."
  type        = string
  default     = "/aws/service/canonical/ubuntu/server/24.04/stable/current/arm64/hvm/ebs-gp3/ami-id"

  validation {
    condition     = !startswith(var.image_parameter_arm64, "/aws/service/debian/")
    error_message = "image_parameter_arm64 is ${jsonencode(var.image_parameter_arm64)}: Debian's image lacks the Session Manager agent, the only way to a shell on a node, and session_manager names a package for amd64. Remove image_parameter_arm64, because Ubuntu's image has the agent."
  }
}

variable "session_manager" {
  description = "Source of the Session Manager agent, the only way to a shell on a node: the URL of a version of AWS's package for Debian, and its checksum. Null: the image has the agent, as Ubuntu's do."
  type        = object({ url = string, sha256 = string })
  default     = null

  validation {
    condition     = var.session_manager != null || !startswith(var.image_parameter, "/aws/service/debian/")
    error_message = "Debian's image lacks the Session Manager agent, the only way to a shell on a node: give session_manager = { url, sha256 } of AWS's package (README.md, Session Manager), or remove image_parameter, because Ubuntu's image has the agent."
  }

  validation {
    condition     = var.session_manager == null ? true : startswith(var.session_manager.url, "https://") && can(regex("^[0-9a-f]{64}$", var.session_manager.sha256))
    error_message = "session_manager needs an https:// address and a SHA-256 of 64 hexadecimal digits."
  }

  validation {
    condition     = var.session_manager == null || length([for what, type in { server_type = var.server_type, edge_type = var.edge_type } : "${what} (${type})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", type))]) == 0
    error_message = "session_manager names a package for amd64, and these have arm64: ${join(", ", [for what, type in { server_type = var.server_type, edge_type = var.edge_type } : "${what} (${type})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", type))])}. Ubuntu's images have the agent."
  }
}

variable "release" {
  description = "The file that make release made: everything that a node runs, and the scripts that set it up."
  type        = string

  validation {
    condition     = endswith(var.release, ".tar.gz") && fileexists(var.release)
    error_message = "release is ${jsonencode(var.release)}; run make release, and give the file that it prints, such as ../dist/nearcast-v1.0.0-linux-amd64.tar.gz."
  }

  validation {
    condition     = !endswith(var.release, "-arm64.tar.gz")
    error_message = "release is ${jsonencode(var.release)}, which is for arm64: give it as release_arm64, and as release the file that make release prints, because stream nodes are amd64."
  }
}

variable "release_arm64" {
  description = "The file that make release-arm64 made, for servers and edge nodes whose instance types have arm64. Null: there are none."
  type        = string
  default     = null

  validation {
    condition     = var.release_arm64 == null ? true : endswith(var.release_arm64, "-arm64.tar.gz") && fileexists(var.release_arm64)
    error_message = "release_arm64 is ${jsonencode(var.release_arm64)}; run make release-arm64, and give the file that it prints, such as ../dist/nearcast-v1.0.0-linux-arm64.tar.gz."
  }

  validation {
    condition     = var.release_arm64 != null || length([for what, type in { server_type = var.server_type, edge_type = var.edge_type } : "${what} (${type})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", type))]) == 0
    error_message = "instance types with arm64 need release_arm64 (make release-arm64): ${join(", ", [for what, type in { server_type = var.server_type, edge_type = var.edge_type } : "${what} (${type})" if can(regex("^([a-z]+[0-9]+g[a-z]*|a1)\\.", type))])}."
  }
}

variable "alarm_email" {
  description = "Address that gets the alarms, after its owner has confirmed it. Null: none; subscribe to the topics yourself."
  type        = string
  default     = null

  validation {
    condition     = var.alarm_email == null ? true : can(regex("^[^@ ]+@[^@ ]+\\.[^@ ]+$", var.alarm_email))
    error_message = "alarm_email is ${jsonencode(var.alarm_email)}, which is not an e-mail address."
  }
}

variable "force_destroy" {
  description = "Destroy deletes buckets with their contents: content, and the release. False: destroy stops at a bucket that is not empty. Apply a change of it before you destroy. The bucket of backups has to be emptied by hand in any case."
  type        = bool
  default     = false
}

variable "tags" {
  description = "Tags for all resources that can have tags."
  type        = map(string)
  default     = {}
}
