# The rules of routing-plan, as AWS wants them: several blocks `condition` are ANDed, the values of one are ORed.

resource "aws_lb_listener_rule" "fixed" {
  for_each = module.plan.fixed_rules

  listener_arn = aws_lb_listener.https.arn
  priority     = each.value.priority
  tags         = merge(local.tags, { Name = each.key })

  dynamic "action" {
    for_each = each.value.color == null ? ["404"] : []
    content {
      type = "fixed-response"
      fixed_response {
        content_type = "application/json"
        message_body = jsonencode({ error = { code = "not_found", message = "There is nothing here." } })
        status_code  = action.value
      }
    }
  }

  dynamic "action" {
    for_each = each.value.color[*]
    content {
      type             = "forward"
      target_group_arn = aws_lb_target_group.color[action.value].arn
    }
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }

  dynamic "condition" {
    for_each = each.value.by_key ? [each.value.color] : []
    content {
      http_header {
        http_header_name = "X-Voice-Color"
        values           = ["${condition.value}:${var.color_key}"]
      }
    }
  }
}

resource "aws_lb_listener_rule" "weighted" {
  for_each = module.plan.weighted_rules

  listener_arn = aws_lb_listener.https.arn
  priority     = each.value.priority
  tags         = merge(local.tags, { Name = each.key })

  action {
    type = "forward"
    forward {
      dynamic "target_group" {
        for_each = var.weights
        content {
          arn    = aws_lb_target_group.color[target_group.key].arn
          weight = target_group.value
        }
      }

      dynamic "stickiness" {
        for_each = each.value.sticky_s > 0 ? [each.value.sticky_s] : []
        content {
          enabled  = true
          duration = stickiness.value
        }
      }
    }
  }

  condition {
    path_pattern {
      values = each.value.paths
    }
  }

  dynamic "condition" {
    for_each = length(each.value.queries) > 0 ? [each.value.queries] : []
    content {
      dynamic "query_string" {
        for_each = condition.value
        content {
          key   = query_string.value.key
          value = query_string.value.value
        }
      }
    }
  }

  # A cutover changes the weights and, in its second phase, takes the old color out of the rule: the
  # whole action is its business. Without this, the next apply would undo it in the middle of the day.
  lifecycle {
    ignore_changes = [action]
  }
}
