output "url" {
  description = "Where people press Play."
  value       = "https://${var.domain}"
}

output "sites" {
  description = "What jobs and operators need of each site."
  value = { for n, m in module.region : n => {
    primary        = n == var.primary_region
    vpc_id         = m.network.vpc_id
    vpc_cidr       = m.vpc_cidr
    router_url     = "https://${m.entry.site_name}"
    brain_url      = m.entry.brain_url
    turn_urls      = m.entry.turn_urls
    content_bucket = m.content.name
    system_bucket  = m.system.name
    backups        = { bucket = m.backups.name, region = m.backups.region }
    groups         = { for role, h in m.nodes : role => h.group }
    edge_nodes     = var.regions[n].edge_nodes
    turn_ports     = var.turn ? "${var.turn_ports.from}-${var.turn_ports.to}" : ""
    alarms         = m.alarms.guards # which stop a replacement of nodes
    # For the autoscaler's job.
    pools   = { for k, p in var.regions[n].pools : "stream-${k}" => { group = m.nodes["stream-${k}"].group, min = p.min, max = p.max } }
    secrets = m.secrets
    open    = m.open
  } }
}

output "content_upload" {
  description = "Command that uploads content to the primary site; S3 replicates it to the others."
  value       = "aws s3 sync ./content s3://${module.region[var.primary_region].content.name}/ --region ${var.primary_region}"
}

output "connect" {
  description = "By site: command that forwards the API of a Nomad server to port 4646 of this machine; with 8500 for 4646, Consul's."
  value = { for n, m in module.region : n => join(" ", [
    "aws ssm start-session --region ${n}",
    "--target \"$(aws ec2 describe-instances --region ${n} --filters Name=tag:nearcast-server,Values=${var.name} Name=instance-state-name,Values=running --query 'Reservations[0].Instances[0].InstanceId' --output text)\"",
    "--document-name AWS-StartPortForwardingSession --parameters portNumber=4646,localPortNumber=4646",
  ]) }
}

output "operator_secret" {
  description = "Command that prints the secret with the operator's tokens and the CA, after the first servers have started."
  value       = "aws secretsmanager get-secret-value --region ${var.primary_region} --secret-id ${module.region[var.primary_region].secrets.servers} --query SecretString --output text"
}

locals {
  # Servers first: clients must not be newer. After the first third of a group (of a pool,
  # the first tenth) AWS waits half an hour, in which an operator looks and may cancel, and
  # it stops when one of the alarms says that the site has become worse.
  replace_order = ["server", "edge", "stream-cpu", "stream-gpu"]
  replace_how = { for n, m in module.region : n => { for role in local.replace_order : role => jsonencode({
    MinHealthyPercentage  = 100
    MaxHealthyPercentage  = 134
    SkipMatching          = true
    CheckpointPercentages = [startswith(role, "stream") ? 10 : 34, 100]
    CheckpointDelay       = 1800
    AlarmSpecification    = { Alarms = m.alarms.guards }
    # Stream nodes are protected, and drain before they end. By default AWS waits an hour for somebody to
    # take the protection away, and then the replacement fails.
    ScaleInProtectedInstances = "Refresh"
  }) } }
}

output "replace_nodes" {
  description = "By site: commands that replace servers, edge nodes and stream nodes, one after the other, by nodes with the latest image and release. Each one drains first. Run the next one when the last one is complete."
  value = { for n, m in module.region : n => [
    for role in local.replace_order :
    "aws autoscaling start-instance-refresh --region ${n} --auto-scaling-group-name ${m.nodes[role].group} --preferences '${local.replace_how[n][role]}'"
    if contains(keys(m.nodes), role)
  ] }
}
