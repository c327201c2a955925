output "topic_arn" {
  value = aws_sns_topic.this.arn
}

output "names" {
  value = concat(
    values(aws_cloudwatch_metric_alarm.this)[*].alarm_name,
    values(aws_cloudwatch_metric_alarm.starved)[*].alarm_name,
    [aws_cloudwatch_metric_alarm.unreachable.alarm_name],
  )
}

output "guards" {
  description = "Alarms that say that the site serves people worse than before."
  value       = [for k in concat(["servers", "edge"], keys(var.balancers)) : aws_cloudwatch_metric_alarm.this[k].alarm_name]
}
