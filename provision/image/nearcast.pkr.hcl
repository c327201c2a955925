# Makes an AMI of nodes of one role, with packages and programs and without any secret:
#
#   packer init provision/image
#   packer build -var region=eu-central-1 -var role=stream -var release=dist/nearcast-1.0-linux-amd64.tar.gz provision/image
#
# Give its id to Terraform: regions["eu-central-1"].images["stream-cpu"]. For Debian 12, add
#
#   -var distribution=debian -var 'session_manager={url="https://…/amazon-ssm-agent.deb",sha256="…"}'
#
# and a release that was built on Debian 12. NOT RUN, neither for Ubuntu nor for Debian: it was written
# without an AWS account. TestImageTemplate evaluates it, and what runs in it, install.sh --image, is tested.

packer {
  required_plugins {
    amazon = {
      source  = "github.com/hashicorp/amazon"
      version = ">= 1.3"
    }
  }
}

variable "region" {
  type = string
}

variable "role" {
  type        = string
  description = "server, edge or stream."

  validation {
    condition     = contains(["server", "edge", "stream"], var.role)
    error_message = "The role must be server, edge or stream."
  }
}

variable "distribution" {
  type        = string
  default     = "ubuntu"
  description = "ubuntu (24.04) or debian (12)."

  validation {
    condition     = contains(["ubuntu", "debian"], var.distribution)
    error_message = "The distribution must be ubuntu or debian."
  }
}

variable "session_manager" {
  type        = object({ url = string, sha256 = string })
  default     = null
  description = "Debian: the package of the Session Manager agent for this arch, and its checksum, as in Terraform. Ubuntu has it."
}

variable "release" {
  type        = string
  description = "The archive that make release made; the same as Terraform's release."
}

variable "arch" {
  type        = string
  default     = "amd64"
  description = "amd64, or arm64 for servers and edge nodes, with a release for it."
}

variable "gpu" {
  type        = bool
  default     = false
  description = "For nodes with an NVIDIA GPU. The image is made on one."
}

variable "packages" {
  type        = list(string)
  default     = []
  description = "Debian packages that the pool's apps need, as in Terraform."
}

variable "instance_type" {
  type        = string
  default     = null
  description = "Default: t3.medium, with arm64 t4g.medium, with gpu g6.xlarge."
}

locals {
  source = {
    ubuntu = { owner = "099720109477", name = "ubuntu/images/hvm-ssd-gp3/ubuntu-noble-24.04-${var.arch}-server-*", user = "ubuntu" } # Canonical
    debian = { owner = "136693071363", name = "debian-12-${var.arch}-*", user = "admin" }                                          # Debian
  }[var.distribution]
  name = "nearcast-${var.role}${var.gpu ? "-gpu" : ""}-${formatdate("YYYYMMDD-hhmmss", timestamp())}"
}

source "amazon-ebs" "node" {
  region        = var.region
  ami_name      = local.name
  instance_type = coalesce(var.instance_type, var.gpu ? "g6.xlarge" : var.arch == "arm64" ? "t4g.medium" : "t3.medium")
  ssh_username  = local.source.user
  # Packer's own key is in no node.
  ssh_clear_authorized_keys = true
  encrypt_boot  = true
  imds_support  = "v2.0"

  source_ami_filter {
    owners      = [local.source.owner]
    most_recent = true
    filters = {
      name                = local.source.name
      virtualization-type = "hvm"
    }
  }

  metadata_options {
    http_tokens                 = "required"
    http_put_response_hop_limit = 1
  }

  tags = {
    Name     = local.name
    nearcast = "image"
    release  = filesha256(var.release)
  }
}

build {
  sources = ["source.amazon-ebs.node"]

  provisioner "file" {
    source      = var.release
    destination = "/tmp/release.tar.gz"
  }

  # As user data does it: it finds the release in place then.
  provisioner "shell" {
    execute_command = "sudo {{ .Vars }} sh {{ .Path }}"
    environment_vars = [
      "NEARCAST_ROLE=${var.role}", "NEARCAST_GPU=${var.gpu ? "yes" : "no"}", "NEARCAST_PACKAGES=${join(" ", var.packages)}",
      "NEARCAST_SSM_AGENT_URL=${var.session_manager == null ? "" : var.session_manager.url}",
      "NEARCAST_SSM_AGENT_SHA256=${var.session_manager == null ? "" : var.session_manager.sha256}",
    ]
    inline = [
      "set -eu",
      "[ ${var.distribution} != debian ] || [ -n \"$NEARCAST_SSM_AGENT_URL\" ] || { echo 'Debian lacks the Session Manager agent, the only way to a shell on a node: give session_manager' >&2; exit 1; }",
      "install -d -m 0700 /var/lib/nearcast/release",
      "tar -xzf /tmp/release.tar.gz -C /var/lib/nearcast/release",
      "echo ${filesha256(var.release)} >/var/lib/nearcast/unpacked.sha256",
      "rm /tmp/release.tar.gz",
      "bash /var/lib/nearcast/release/provision/install.sh --role ${var.role} --release /var/lib/nearcast/release --image",
    ]
  }
}
