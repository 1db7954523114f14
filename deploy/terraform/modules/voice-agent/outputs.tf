locals {
  weighted_rule_arns = [for name in module.plan.weighted_order : aws_lb_listener_rule.weighted[name].arn]
  target_group_arns  = { for color, group in aws_lb_target_group.color : color => group.arn }
}

# ---- read by `voice-agent cutover --terraform FILE`, which takes `terraform output -json`

output "alb_rule_arns" {
  description = "Every weighted rule, that of first connects first."
  value       = local.weighted_rule_arns
}

output "alb_listener_arn" {
  description = "The HTTPS listener."
  value       = aws_lb_listener.https.arn
}

output "target_group_arns" {
  description = "The target group of each color."
  value       = local.target_group_arns
}

output "cloudwatch_namespace" {
  description = "Where active calls by color are published."
  value       = var.cloudwatch_namespace
}

output "url" {
  description = "Where callers connect."
  value       = "wss://${coalesce(var.hostname, aws_lb.this.dns_name)}/v1/realtime"
}

output "store_url" {
  description = "VOICE_STORE_URL of the pods and of the cutover tool; holds the password."
  value       = "rediss://:${urlencode(var.redis_auth_token)}@${aws_elasticache_replication_group.this.primary_endpoint_address}:${local.redis_port}/0"
  sensitive   = true
}

output "color_key" {
  description = "With it the smoke call reaches a color at any weight (VOICE_COLOR_KEY)."
  value       = var.color_key
  sensitive   = true
}

# ---- for the rest of your configuration

output "alb_arn" {
  description = "The load balancer; attach a web ACL to it."
  value       = aws_lb.this.arn
}

output "alb_dns_name" {
  description = "What the host name's alias record points to."
  value       = aws_lb.this.dns_name
}

output "alb_zone_id" {
  description = "Zone of alb_dns_name, for the alias record."
  value       = aws_lb.this.zone_id
}

output "pod_security_group_ids" {
  description = "Security groups of the pods: they must have one of them."
  value       = local.pod_security_group_ids
}

output "redis_security_group_id" {
  description = "Security group of Redis; a host that is given a rule to it may run the cutover."
  value       = aws_security_group.redis.id
}

output "pod_environment" {
  description = "Settings of the pods that must agree with the load balancer; VOICE_COLOR and the secrets come on top."
  value = {
    VOICE_HOST           = "0.0.0.0"
    VOICE_PORT           = tostring(local.pod_port)
    VOICE_DRAIN_DEADLINE = tostring(module.plan.timings.drain_deadline_s)
  }
}

output "pre_stop_s" {
  description = "How long the pods' preStop must wait before it drains."
  value       = module.plan.timings.pre_stop_s
}

output "termination_grace_s" {
  description = "Grace period the pods must be given."
  value       = module.plan.timings.termination_grace_s
}

output "publish_metrics_policy_json" {
  description = "IAM policy for `voice-agent fleet --cloudwatch`: publish to this one namespace."
  value       = jsonencode(local.publish_policy)
}

output "cutover_policy_json" {
  description = "IAM policy for `voice-agent cutover --router alb`: these rules' weights, these groups' targets, reading metrics."
  value       = jsonencode(local.cutover_policy)
}
