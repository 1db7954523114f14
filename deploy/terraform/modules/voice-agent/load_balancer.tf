resource "aws_lb" "this" {
  #checkov:skip=CKV_AWS_91:access logs hold URLs with their queries, and so call keys and resume tokens; set access_logs_bucket to have them anyway
  #checkov:skip=CKV_AWS_150:on by default; deletion_protection is a variable so that a test environment can be destroyed
  #checkov:skip=CKV2_AWS_28:a web ACL belongs to whoever owns the domain; attach one to the output alb_arn (it sees the upgrade request, never the frames)
  name                       = var.name
  load_balancer_type         = "application"
  internal                   = var.internal
  subnets                    = var.alb_subnet_ids
  security_groups            = [aws_security_group.alb.id]
  idle_timeout               = module.plan.timings.idle_timeout_s
  drop_invalid_header_fields = true
  desync_mitigation_mode     = "defensive"
  preserve_host_header       = true # pods compare it with Origin
  enable_deletion_protection = var.deletion_protection
  tags                       = local.tags

  dynamic "access_logs" {
    for_each = var.access_logs_bucket[*]
    content {
      bucket  = access_logs.value
      prefix  = var.name
      enabled = true
    }
  }
}

resource "aws_lb_target_group" "color" {
  #checkov:skip=CKV_AWS_378:inside the VPC, between two security groups; a load balancer does not verify its targets' certificates, so TLS would hide but not authenticate (see README)
  for_each = toset(module.plan.colors)

  name                          = "${var.name}-${each.key}"
  vpc_id                        = var.vpc_id
  target_type                   = "ip" # pods, not nodes: one hop, and health by pod
  protocol                      = "HTTP"
  protocol_version              = "HTTP1" # a WebSocket is an upgrade of HTTP/1.1
  port                          = local.pod_port
  deregistration_delay          = module.plan.timings.deregistration_delay_s
  load_balancing_algorithm_type = var.algorithm
  tags                          = merge(local.tags, { Color = each.key })

  # A draining pod answers 503 here and so gets no new connection; those it has stay open.
  health_check {
    path                = "/healthz/realtime"
    matcher             = "200"
    protocol            = "HTTP"
    port                = "traffic-port"
    interval            = 5 # a client gives up reconnecting after some 12 s; by then a draining pod must be out
    timeout             = 3
    healthy_threshold   = 2
    unhealthy_threshold = 2
  }

  # Never on: AWS refuses it for a group behind a rule without stickiness of its own, which those of resumes have not.
  # The rule of first connects binds to a color, and within a color any pod will do.
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

  # Never a forward: modify-rule cannot change a default action, so its weights would stay behind in a cutover.
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
