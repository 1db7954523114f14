output "colors" {
  description = "The two colors, sorted."
  value       = local.colors
}

output "fixed_rules" {
  description = "By name, the rules that no cutover changes: what is private, and one rule a color for smoke calls."
  value       = merge(local.private, local.smoke)
}

output "weighted_rules" {
  description = "By name, the rules whose weights a cutover changes."
  value       = local.weighted
}

output "weighted_order" {
  description = "Names of the weighted rules as the cutover tool wants them: that of first connects, which alone is sticky, first."
  value       = concat(["first-connect", "resume-by-query", "resume-by-path", "stateless"], var.behind_edges ? ["health"] : [])
}

output "timings" {
  description = "The validated times, in seconds."
  value = {
    sticky_s               = var.sticky_s
    idle_timeout_s         = var.idle_timeout_s
    pre_stop_s             = var.pre_stop_s
    drain_deadline_s       = var.drain_deadline_s
    termination_grace_s    = var.termination_grace_s
    deregistration_delay_s = var.deregistration_delay_s
  }
}
