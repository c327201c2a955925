# Constants about regions.

locals {
  known_regions = keys(local.backup_regions)

  # Regions that offer at least three zones to every account (us-west-1 has two), each with the region
  # where its backups lie, if its backup_region does not say another one: near, enabled in every
  # account, and in the same country or union of countries where AWS has such a region. It depends on
  # no other site, so no backup moves when one is added, removed or promoted.
  backup_regions = {
    "af-south-1"     = "eu-west-1"
    "ap-east-1"      = "ap-southeast-1"
    "ap-east-2"      = "ap-northeast-1"
    "ap-northeast-1" = "ap-northeast-3"
    "ap-northeast-2" = "ap-northeast-1"
    "ap-northeast-3" = "ap-northeast-1"
    "ap-south-1"     = "ap-southeast-1"
    "ap-south-2"     = "ap-south-1"
    "ap-southeast-1" = "ap-southeast-2"
    "ap-southeast-2" = "ap-southeast-1"
    "ap-southeast-3" = "ap-southeast-1"
    "ap-southeast-4" = "ap-southeast-2"
    "ap-southeast-5" = "ap-southeast-1"
    "ap-southeast-6" = "ap-southeast-2"
    "ap-southeast-7" = "ap-southeast-1"
    "ca-central-1"   = "us-east-2"
    "ca-west-1"      = "ca-central-1"
    "eu-central-1"   = "eu-west-1"
    "eu-central-2"   = "eu-central-1"
    "eu-north-1"     = "eu-west-1"
    "eu-south-1"     = "eu-central-1"
    "eu-south-2"     = "eu-west-3"
    "eu-west-1"      = "eu-central-1"
    "eu-west-2"      = "eu-west-1"
    "eu-west-3"      = "eu-central-1"
    "il-central-1"   = "eu-central-1"
    "me-central-1"   = "eu-central-1"
    "me-south-1"     = "eu-central-1"
    "mx-central-1"   = "us-east-2"
    "sa-east-1"      = "us-east-1"
    "us-east-1"      = "us-west-2"
    "us-east-2"      = "us-west-2"
    "us-west-2"      = "us-east-2"
  }

  # Allowed networks of sites.
  private_networks = ["10.0.0.0/8", "172.16.0.0/12", "192.168.0.0/16"]
  sizes            = ["16", "17", "18", "19", "20"]
}
