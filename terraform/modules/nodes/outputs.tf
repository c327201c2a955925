output "group" {
  description = "Name of the auto scaling group."
  value       = aws_autoscaling_group.this.name
}

output "policy" {
  description = "The rights of the nodes, as JSON."
  value       = aws_iam_role_policy.this.policy
}

output "template" {
  description = "Parts of the launch template, for the tests."
  value = {
    metadata  = one(aws_launch_template.this.metadata_options)
    encrypted = alltrue([for b in aws_launch_template.this.block_device_mappings : tobool(b.ebs[0].encrypted)])
    gib       = [for b in aws_launch_template.this.block_device_mappings : b.ebs[0].volume_size]
    public    = tobool(aws_launch_template.this.network_interfaces[0].associate_public_ip_address)
    image     = aws_launch_template.this.image_id
    release   = var.release.key
    user_data = base64decode(aws_launch_template.this.user_data)
  }
}

output "scaling" {
  description = "Parts of the auto scaling group, for the tests."
  value = {
    min            = aws_autoscaling_group.this.min_size
    max            = aws_autoscaling_group.this.max_size
    rebalance      = aws_autoscaling_group.this.capacity_rebalance
    on_demand_base = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_base_capacity
    on_demand      = aws_autoscaling_group.this.mixed_instances_policy[0].instances_distribution[0].on_demand_percentage_above_base_capacity
    types          = [for o in aws_autoscaling_group.this.mixed_instances_policy[0].launch_template[0].override : o.instance_type]
    protected      = aws_autoscaling_group.this.protect_from_scale_in
    hook           = aws_autoscaling_lifecycle_hook.drain.lifecycle_transition
  }
}
