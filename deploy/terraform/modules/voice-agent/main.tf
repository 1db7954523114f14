locals {
  tags     = merge({ Application = var.name }, var.tags)
  pod_port = 8080
}

# Which request goes where, and how the times relate: plain data, tested without AWS.
module "plan" {
  source = "../routing-plan"

  weights                = var.weights
  behind_edges           = var.behind_edges
  sticky_s               = var.sticky_s
  idle_timeout_s         = var.idle_timeout_s
  pre_stop_s             = var.pre_stop_s
  drain_deadline_s       = var.drain_deadline_s
  termination_grace_s    = var.termination_grace_s
  deregistration_delay_s = var.deregistration_delay_s
}
