output "url" {
  description = "Where callers connect."
  value       = "wss://${var.hostname}/v1/realtime"
}

output "target_group_arn" {
  description = "The target group that edges are registered with."
  value       = aws_lb_target_group.edges.arn
}

output "edge_environment" {
  description = "Settings of the edges that must agree with the load balancers; VOICE_TRUSTED_PROXIES comes on top."
  value = {
    VOICE_EDGE_TO             = "wss://${var.inside_hostname}"
    VOICE_EDGE_HOST           = "0.0.0.0"
    VOICE_EDGE_PORT           = tostring(local.port)
    VOICE_EDGE_DRAIN_DEADLINE = tostring(var.drain_deadline_s)
    VOICE_EDGE_DIRECT         = length(var.pod_security_group_ids) > 0 ? "1" : "0"
  }
}

output "pre_stop_s" {
  description = "How long the edges' preStop must wait before SIGTERM."
  value       = var.pre_stop_s
}

output "termination_grace_s" {
  description = "Grace period the edges must be given."
  value       = var.pre_stop_s + var.drain_deadline_s + 30
}

output "edge_security_group_ids" {
  description = "Security groups of the edges: they must have one of them."
  value       = local.edge_security_group_ids
}

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
