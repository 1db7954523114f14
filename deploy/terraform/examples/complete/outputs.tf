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

output "pod_security_group_id" {
  description = "Security group the pods must have."
  value       = module.voice_agent.pod_security_group_id
}

output "pod_environment" {
  description = "Settings of the pods that must agree with the load balancer."
  value       = module.voice_agent.pod_environment
}

output "termination_grace_s" {
  description = "Grace period the pods must be given."
  value       = module.voice_agent.termination_grace_s
}
