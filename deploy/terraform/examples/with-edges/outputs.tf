# The cutover tool reads these from `terraform output -json`, so they are handed on under their own names.

output "alb_rule_arns" {
  description = "Every weighted rule, that of first connects first."
  value       = module.voice_agent.alb_rule_arns
}

output "alb_listener_arn" {
  description = "The HTTPS listener."
  value       = module.voice_agent.alb_listener_arn
}

output "target_group_arns" {
  description = "The target group of each color."
  value       = module.voice_agent.target_group_arns
}

output "cloudwatch_namespace" {
  description = "Where active calls by color are published."
  value       = module.voice_agent.cloudwatch_namespace
}

output "url" {
  description = "Where edges connect."
  value       = module.voice_agent.url
}

output "store_url" {
  description = "VOICE_STORE_URL; holds the password."
  value       = module.voice_agent.store_url
  sensitive   = true
}

output "color_key" {
  description = "With it the smoke call reaches a color at any weight."
  value       = module.voice_agent.color_key
  sensitive   = true
}

output "pod_security_group_ids" {
  description = "Security groups of the pods: they must have one of them."
  value       = module.voice_agent.pod_security_group_ids
}

output "pod_environment" {
  description = "Settings of the pods that must agree with the load balancer."
  value       = module.voice_agent.pod_environment
}

output "pre_stop_s" {
  description = "How long the pods' preStop must wait before it drains."
  value       = module.voice_agent.pre_stop_s
}

output "termination_grace_s" {
  description = "Grace period the pods must be given."
  value       = module.voice_agent.termination_grace_s
}

output "callers_url" {
  description = "Where callers connect; `url` is what the smoke call of a cutover connects to, from inside."
  value       = module.voice_edge.url
}

output "edge_target_group_arn" {
  description = "The target group that edges are registered with."
  value       = module.voice_edge.target_group_arn
}

output "edge_environment" {
  description = "Settings of the edges that must agree with the load balancers."
  value       = module.voice_edge.edge_environment
}

output "edge_pre_stop_s" {
  description = "How long the edges' preStop must wait before SIGTERM."
  value       = module.voice_edge.pre_stop_s
}

output "edge_termination_grace_s" {
  description = "Grace period the edges must be given."
  value       = module.voice_edge.termination_grace_s
}
