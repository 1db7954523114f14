# Callers -> load balancer (443, 80) -> pods (8080) -> Redis (6379); nothing else, and each by the other's group.

locals {
  pod_security_group_id = var.pod_security_group_id == null ? aws_security_group.pods[0].id : var.pod_security_group_id
}

resource "aws_security_group" "alb" {
  name        = "${var.name}-alb"
  description = "Callers to the load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-alb" })
}

resource "aws_security_group" "pods" {
  #checkov:skip=CKV2_AWS_5:attached to the pods by whatever runs them
  count = var.pod_security_group_id == null ? 1 : 0

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
  security_group_id            = aws_security_group.alb.id
  description                  = "Calls and health checks"
  referenced_security_group_id = local.pod_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.pod_port
  to_port                      = local.pod_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "pods_from_alb" {
  security_group_id            = local.pod_security_group_id
  description                  = "Calls and health checks"
  referenced_security_group_id = aws_security_group.alb.id
  ip_protocol                  = "tcp"
  from_port                    = local.pod_port
  to_port                      = local.pod_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "pods_to_redis" {
  security_group_id            = local.pod_security_group_id
  description                  = "The store"
  referenced_security_group_id = aws_security_group.redis.id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "pods_https" {
  for_each = toset(var.pod_security_group_id == null ? var.pod_https_egress_cidrs : [])

  security_group_id = local.pod_security_group_id
  description       = "Providers of agents, and CloudWatch"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "redis_from_pods" {
  security_group_id            = aws_security_group.redis.id
  description                  = "The pods' store"
  referenced_security_group_id = local.pod_security_group_id
  ip_protocol                  = "tcp"
  from_port                    = local.redis_port
  to_port                      = local.redis_port
  tags                         = local.tags
}
