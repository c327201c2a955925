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
