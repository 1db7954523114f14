locals {
  redis_port   = 6379
  redis_family = var.redis_engine.name == "redis" ? "redis7" : "valkey${split(".", var.redis_engine.version)[0]}"
  # ElastiCache numbers the nodes of a group itself.
  redis_nodes = [for number in range(1, var.redis_replicas + 2) : format("%s-%03d", var.name, number)]
}

resource "aws_elasticache_subnet_group" "this" {
  name        = var.name
  description = "Redis of ${var.name}"
  subnet_ids  = var.private_subnet_ids
  tags        = local.tags
}

resource "aws_elasticache_parameter_group" "this" {
  name        = "${var.name}-${local.redis_family}"
  description = "Redis of ${var.name}: nothing is evicted, nothing is written to a primary alone"
  family      = local.redis_family
  tags        = local.tags

  parameter {
    name  = "maxmemory-policy"
    value = "noeviction" # calls have a TTL; evicting one would lose it
  }
  parameter {
    name  = "min-replicas-to-write"
    value = "1" # a primary that is cut off stops taking what it would lose
  }
  parameter {
    name  = "min-replicas-max-lag"
    value = "2" # seconds
  }

  lifecycle {
    create_before_destroy = true
  }
}

resource "aws_elasticache_replication_group" "this" {
  #checkov:skip=CKV_AWS_191:redis_kms_key_arn sets a key of one's own; calls live in Redis for half an hour, and AWS' key costs nothing
  replication_group_id       = var.name
  description                = "Calls of ${var.name}"
  engine                     = var.redis_engine.name
  engine_version             = var.redis_engine.version
  node_type                  = var.redis_node_type
  port                       = local.redis_port
  parameter_group_name       = aws_elasticache_parameter_group.this.name
  subnet_group_name          = aws_elasticache_subnet_group.this.name
  security_group_ids         = [aws_security_group.redis.id]
  num_cache_clusters         = var.redis_replicas + 1
  automatic_failover_enabled = true
  multi_az_enabled           = true
  transit_encryption_enabled = true
  at_rest_encryption_enabled = true
  kms_key_id                 = var.redis_kms_key_arn
  auth_token                 = var.redis_auth_token
  auth_token_update_strategy = "ROTATE" # the old token stays valid until pods have the new one
  snapshot_retention_limit   = var.redis_snapshot_days
  snapshot_window            = var.redis_snapshot_window
  maintenance_window         = var.redis_maintenance_window
  auto_minor_version_upgrade = true
  notification_topic_arn     = one(slice(var.alarm_topic_arns, 0, min(1, length(var.alarm_topic_arns))))
  tags                       = local.tags
}
