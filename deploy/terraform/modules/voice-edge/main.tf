# Callers -> this load balancer (443, 80) -> edges (8080) -> the internal load balancer of modules/voice-agent -> pods.

locals {
  tags = merge({ Application = var.name }, var.tags)
  port = 8080

  # Told apart by their number, which is known before they are made; whether one is null would not be.
  makes_edge_group        = length(var.edge_security_group_ids) == 0
  edge_security_group_ids = local.makes_edge_group ? [aws_security_group.edges[0].id] : var.edge_security_group_ids
  edge_security_groups    = max(1, length(var.edge_security_group_ids))
}

resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:access logs hold URLs with their queries, and so call keys and resume tokens
  #checkov:skip=CKV_AWS_150:on by default; deletion_protection is a variable so that a test environment can be destroyed
  #checkov:skip=CKV2_AWS_28:a web ACL belongs to whoever owns the domain; attach one to the output alb_arn
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = false
  subnets                    = var.alb_subnet_ids
  security_groups            = [aws_security_group.alb.id]
  idle_timeout               = var.idle_timeout_s
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "defensive"
  preserve_host_header       = true
  enable_deletion_protection = var.deletion_protection
  tags                       = local.tags
}

resource "aws_lb_target_group" "edges" {
  #checkov:skip=CKV_AWS_378:inside the VPC, between two security groups; a load balancer does not verify its targets' certificates
  name                          = var.name
  vpc_id                        = var.vpc_id
  target_type                   = "ip"
  protocol                      = "HTTP"
  protocol_version              = "HTTP1" # a WebSocket is an upgrade of HTTP/1.1
  port                          = local.port
  deregistration_delay          = var.deregistration_delay_s
  load_balancing_algorithm_type = "least_outstanding_requests"
  tags                          = local.tags

  # 503 while it drains, is full, or finds no pods; the callers it holds stay.
  health_check {
    path                = "/healthz/realtime"
    matcher             = "200"
    protocol            = "HTTP"
    port                = "traffic-port"
    interval            = 5
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # Edges are alike, and the cookie of the internal load balancer, which has the same name, is handed on by them.
  stickiness {
    type    = "lb_cookie"
    enabled = false
  }
}

resource "aws_lb_listener" "https" {
  load_balancer_arn = aws_lb.this.arn
  port              = 443
  protocol          = "HTTPS"
  ssl_policy        = var.ssl_policy
  certificate_arn   = var.certificate_arn
  tags              = local.tags

  default_action {
    type = "fixed-response"
    fixed_response {
      content_type = "application/json"
      message_body = jsonencode({ error = { code = "not_found", message = "There is nothing here." } })
      status_code  = "404"
    }
  }
}

resource "aws_lb_listener" "http" {
  load_balancer_arn = aws_lb.this.arn
  port              = 80
  protocol          = "HTTP"
  tags              = local.tags

  default_action {
    type = "redirect"
    redirect {
      port        = "443"
      protocol    = "HTTPS"
      status_code = "HTTP_301"
    }
  }
}

# Several rules, for a condition takes three values. Which pod a call gets is decided behind the edges.
resource "aws_lb_listener_rule" "callers" {
  for_each = {
    calls     = { priority = 10, paths = ["/realtime", "/v1/realtime", "/openai/*realtime"] }
    stateless = { priority = 20, paths = ["/realtime/call_*", "/twilio/*", "/v1/realtime/client_secrets"] }
    page      = { priority = 30, paths = ["/"] }
  }

  listener_arn = aws_lb_listener.https.arn
  priority     = each.value.priority
  tags         = merge(local.tags, { Name = each.key })

  action {
    type             = "forward"
    target_group_arn = aws_lb_target_group.edges.arn
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }
}

resource "aws_security_group" "alb" {
  name        = "${var.name}-alb"
  description = "Callers to the load balancer of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-alb" })
}

resource "aws_security_group" "edges" {
  #checkov:skip=CKV2_AWS_5:attached to the edges by whatever runs them
  count = local.makes_edge_group ? 1 : 0

  name        = "${var.name}-edges"
  description = "Edges of ${var.name}"
  vpc_id      = var.vpc_id
  tags        = merge(local.tags, { Name = "${var.name}-edges" })
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

resource "aws_vpc_security_group_egress_rule" "alb_to_edges" {
  count = local.edge_security_groups

  security_group_id            = aws_security_group.alb.id
  description                  = "Callers and health checks"
  referenced_security_group_id = local.edge_security_group_ids[count.index]
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "edges_from_alb" {
  count = local.edge_security_groups

  security_group_id            = local.edge_security_group_ids[count.index]
  description                  = "Callers and health checks"
  referenced_security_group_id = aws_security_group.alb.id
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_egress_rule" "edges_to_pods" {
  for_each = toset(local.makes_edge_group ? var.inside_cidrs : [])

  security_group_id = local.edge_security_group_ids[0]
  description       = "The internal load balancer"
  cidr_ipv4         = each.value
  ip_protocol       = "tcp"
  from_port         = 443
  to_port           = 443
  tags              = local.tags
}

# An operator may move a call to a pod that he names; the edge then asks that pod itself.
locals {
  pairs = [for pair in setproduct(range(local.edge_security_groups), range(length(var.pod_security_group_ids))) : { edge = pair[0], pod = pair[1] }]
}

resource "aws_vpc_security_group_egress_rule" "edges_to_named_pods" {
  count = length(local.pairs)

  security_group_id            = local.edge_security_group_ids[local.pairs[count.index].edge]
  description                  = "Calls that are moved to a pod by name"
  referenced_security_group_id = var.pod_security_group_ids[local.pairs[count.index].pod]
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = local.tags
}

resource "aws_vpc_security_group_ingress_rule" "named_pods_from_edges" {
  count = length(local.pairs)

  security_group_id            = var.pod_security_group_ids[local.pairs[count.index].pod]
  description                  = "Calls that are moved to a pod by name"
  referenced_security_group_id = local.edge_security_group_ids[local.pairs[count.index].edge]
  ip_protocol                  = "tcp"
  from_port                    = local.port
  to_port                      = local.port
  tags                         = local.tags
}

resource "aws_cloudwatch_metric_alarm" "no_healthy_edge" {
  alarm_name          = "${var.name}-no-healthy-edge"
  alarm_description   = "No edge takes callers: all are full, drain, or find no pods."
  namespace           = "AWS/ApplicationELB"
  metric_name         = "HealthyHostCount"
  dimensions          = { LoadBalancer = aws_lb.this.arn_suffix, TargetGroup = aws_lb_target_group.edges.arn_suffix }
  statistic           = "Minimum"
  period              = 60
  evaluation_periods  = 2
  comparison_operator = "LessThanThreshold"
  threshold           = 1
  treat_missing_data  = "breaching"
  alarm_actions       = var.alarm_topic_arns
  ok_actions          = var.alarm_topic_arns
  tags                = local.tags
}
