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
  description = "Where callers connect."
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
