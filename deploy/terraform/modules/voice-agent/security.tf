# Callers -> load balancer (443, 80) -> pods (8080) -> Redis (6379) <- operators; nothing else, and each by the other's
# group.

locals {
  # Told apart by their number, which is known before they are made; whether one is null would not be.
  makes_pod_group        = length(var.pod_security_group_ids) == 0
  pod_security_group_ids = local.makes_pod_group ? [aws_security_group.pods[0].id] : var.pod_security_group_ids
  pod_security_groups    = max(1, length(var.pod_security_group_ids))
}

resource "aws_security_group" "alb" {
  name        = "${var.name}-alb"
  description = "Callers to the load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-alb" })
}

resource "aws_security_group" "pods" {
  #checkov:skip=CKV2_AWS_5:attached to the pods by whatever runs them
  count = local.makes_pod_group ? 1 : 0

  name        = "${var.name}-pods"
  description = "Pods of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-pods" })
}

resource "aws_security_group" "redis" {
  name        = "${var.name}-redis"
  description = "Redis of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-redis" })
}

resource "aws_vpc_security_group_ingress_rule" "alb_https" {
  for_each = toset(var.ingress_cidrs)

  security_group_id = aws_security_group.alb.id
  description       = "Callers"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "alb_http" {
  #checkov:skip=CKV_AWS_260:port 80 answers with a redirect to HTTPS and nothing else
  for_each = toset(var.ingress_cidrs)

  security_group_id = aws_security_group.alb.id
  description       = "Browsers that are sent on to HTTPS"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 80
  to_port           = 80
  tags              = local.tags
}

resource "aws_vpc_security_group_egress_rule" "alb_to_pods" {
  count = local.pod_security_groups

  security_group_id            = aws_security_group.alb.id
  description                  = "Calls and health checks"
  referenced_security_group_id = local.pod_security_group_ids[count.index]
  ip_protocol                  = "tcp"
  from_port                    = local.pod_port
  to_port                      = local.pod_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "pods_from_alb" {
  count = local.pod_security_groups

  security_group_id            = local.pod_security_group_ids[count.index]
  description                  = "Calls and health checks"
  referenced_security_group_id = aws_security_group.alb.id
  ip_protocol                  = "tcp"
  from_port                    = local.pod_port
  to_port                      = local.pod_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "pods_to_redis" {
  count = local.pod_security_groups

  security_group_id            = local.pod_security_group_ids[count.index]
  description                  = "The store"
  referenced_security_group_id = aws_security_group.redis.id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "pods_https" {
  for_each = toset(local.makes_pod_group ? var.pod_https_egress_cidrs : [])

  security_group_id = local.pod_security_group_ids[0]
  description       = "Providers of agents, and CloudWatch"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "redis_from_pods" {
  count = local.pod_security_groups

  security_group_id            = aws_security_group.redis.id
  description                  = "The store of the pods"
  referenced_security_group_id = local.pod_security_group_ids[count.index]
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  tags                         = local.tags
}

# A cutover keeps its progress in the store and counts calls there.
resource "aws_vpc_security_group_ingress_rule" "redis_from_operators" {
  count = length(var.operator_security_group_ids)

  security_group_id            = aws_security_group.redis.id
  description                  = "Cutovers, and who publishes metrics"
  referenced_security_group_id = var.operator_security_group_ids[count.index]
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  tags                         = local.tags
}
