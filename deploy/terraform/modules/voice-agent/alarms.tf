# What somebody has to be told of. Missing data is never taken for a zero.

locals {
  # A draining pod is unhealthy on purpose, for as long as its drain may take.
  drain_minutes = ceil((module.plan.timings.pre_stop_s + module.plan.timings.drain_deadline_s) / 60) + 1

  alb_dimensions = {
    for color, group in aws_lb_target_group.color : color => {
      LoadBalancer = aws_lb.this.arn_suffix
      TargetGroup  = group.arn_suffix
    }
  }

  # Metric ids may hold no hyphens, so they are numbered.
  color_ids = { for index, color in module.plan.colors : color => "m${index}" }
  node_ids  = { for index, node in local.redis_nodes : node => "m${index}" }
}

resource "aws_cloudwatch_metric_alarm" "unhealthy_hosts" {
  for_each = toset(module.plan.colors)

  alarm_name          = "${var.name}-${each.key}-unhealthy-hosts"
  alarm_description   = "A ${each.key} pod has failed its health check for longer than a drain may take: it is stuck or broken, not draining."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "UnHealthyHostCount"
  dimensions          = local.alb_dimensions[each.key]
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = local.drain_minutes
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # a color without targets has no such metric
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "no_healthy_host" {
  alarm_name          = "${var.name}-no-healthy-host"
  alarm_description   = "No pod of any color takes calls. The load balancer now sends callers to unhealthy pods, which refuse them."
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  metric_query {
    id          = "healthy"
    label       = "Healthy pods of all colors"
    expression  = "SUM([${join(", ", values(local.color_ids))}])" # a color without data does not void the other's
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.color_ids
    content {
      id          = metric_query.value
      return_data = false
      metric {
        namespace   = "AWS/ApplicationELB"
        metric_name = "HealthyHostCount"
        dimensions  = local.alb_dimensions[metric_query.key]
        stat        = "Minimum"
        period      = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "dropped_calls" {
  for_each = toset(module.plan.colors)

  alarm_name          = "${var.name}-${each.key}-dropped-calls"
  alarm_description   = "${title(each.key)} has lost a call through a fault of ours. This is never normal, a deploy is no excuse."
  namespace           = var.cloudwatch_namespace
  metric_name         = "DroppedCalls" # each value is how many came since the one before
  dimensions          = { Color = each.key }
  statistic           = "Sum"
  period              = 60
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching" # silence is an alarm of its own
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}

resource "aws_cloudwatch_metric_alarm" "active_calls_silent" {
  alarm_name          = "${var.name}-active-calls-silent"
  alarm_description   = "Nobody publishes active calls (voice-agent fleet --cloudwatch ${var.cloudwatch_namespace}): a cutover that watches CloudWatch would refuse to go on."
  evaluation_periods  = 3
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  metric_query {
    id          = "samples"
    label       = "Samples a minute, all colors"
    expression  = "SUM([${join(", ", values(local.color_ids))}])" # a color without data does not void the other's
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.color_ids
    content {
      id          = metric_query.value
      return_data = false
      metric {
        namespace   = var.cloudwatch_namespace
        metric_name = "ActiveCalls"
        dimensions  = { Color = metric_query.key }
        stat        = "SampleCount"
        period      = 60
      }
    }
  }
}

resource "aws_cloudwatch_metric_alarm" "redis_memory" {
  for_each = toset(local.redis_nodes)

  alarm_name          = "${each.key}-redis-memory"
  alarm_description   = "Redis node ${each.key} fills up. Nothing is evicted: when it is full, writes fail, pods live from memory and calls no longer survive them."
  namespace           = "AWS/ElastiCache"
  metric_name         = "DatabaseMemoryUsagePercentage"
  dimensions          = { CacheClusterId = each.key }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 3
  comparison_operator = "GreaterThanThreshold"
  threshold           = var.redis_memory_alarm_percent
  treat_missing_data  = "missing"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  depends_on = [aws_elasticache_replication_group.this]
}

resource "aws_cloudwatch_metric_alarm" "redis_replication_lag" {
  for_each = toset(local.redis_nodes)

  alarm_name          = "${each.key}-redis-replication-lag"
  alarm_description   = "Replica ${each.key} is seconds behind: a failover to it would lose them, and with no other replica writes stop."
  namespace           = "AWS/ElastiCache"
  metric_name         = "ReplicationLag"
  dimensions          = { CacheClusterId = each.key }
  statistic           = "Maximum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "GreaterThanThreshold"
  threshold           = 2
  treat_missing_data  = "notBreaching" # a primary has no lag
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  depends_on = [aws_elasticache_replication_group.this]
}

resource "aws_cloudwatch_metric_alarm" "redis_failover" {
  alarm_name          = "${var.name}-redis-failover"
  alarm_description   = "Redis has a new primary. Calls went on from the pods' memory meanwhile; see the runbook for what to check."
  evaluation_periods  = 1
  comparison_operator = "GreaterThanThreshold"
  threshold           = 0
  treat_missing_data  = "notBreaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags

  metric_query {
    id          = "changes"
    label       = "Nodes whose role changed"
    expression  = "MAX([${join(", ", [for id in values(local.node_ids) : "ABS(DIFF(FILL(${id}, REPEAT)))"])}])"
    return_data = true
  }

  dynamic "metric_query" {
    for_each = local.node_ids
    content {
      id          = metric_query.value
      return_data = false
      metric {
        namespace   = "AWS/ElastiCache"
        metric_name = "IsMaster"
        dimensions  = { CacheClusterId = metric_query.key }
        stat        = "Maximum"
        period      = 60
      }
    }
  }

  depends_on = [aws_elasticache_replication_group.this]
}
