variable "weights" {
  description = "Percent of the callers by color, when the rules are created; they add up to 100. Exactly two colors."
  type        = map(number)
  default     = { blue = 100, green = 0 }

  validation {
    condition     = length(var.weights) == 2
    error_message = "weights must name exactly two colors, such as { blue = 100, green = 0 }."
  }
  validation {
    condition     = alltrue([for weight in values(var.weights) : weight >= 0 && weight <= 100 && floor(weight) == weight])
    error_message = "Every weight must be a whole number from 0 to 100: weights are percents."
  }
  validation {
    condition     = sum(concat([0], values(var.weights))) == 100
    error_message = "The weights must add up to 100: the cutover tool reads them as percents."
  }
  validation {
    condition     = alltrue([for color in keys(var.weights) : can(regex("^[a-z0-9]([a-z0-9-]{0,8}[a-z0-9])?$", color))])
    error_message = "A color must be 1 to 10 small letters, digits or inner hyphens: it becomes part of names and of a header's value."
  }
}

variable "first_connect_paths" {
  description = "Paths on which a call or a visit starts: weighted, and sticky for sticky_s. At most three, the load balancer's limit for one condition."
  type        = list(string)
  default     = ["/realtime", "/v1/realtime", "/"]

  validation {
    condition     = length(var.first_connect_paths) >= 1 && length(var.first_connect_paths) <= 3
    error_message = "first_connect_paths must hold 1 to 3 paths: a condition of a listener rule takes no more."
  }
  validation {
    condition     = alltrue([for path in var.first_connect_paths : startswith(path, "/") && !startswith(path, "/admin") && !startswith(path, "/metrics") && !strcontains(path, "*")])
    error_message = "first_connect_paths must be exact paths that start with / and lead neither to /admin nor to /metrics."
  }
}

variable "stateless_paths" {
  description = "Paths that follow the weights without stickiness because any pod answers them alike. At most three."
  type        = list(string)
  default     = ["/twilio/*", "/v1/realtime/client_secrets", "/openai/*realtime"]

  validation {
    condition     = length(var.stateless_paths) >= 1 && length(var.stateless_paths) <= 3
    error_message = "stateless_paths must hold 1 to 3 paths: a condition of a listener rule takes no more."
  }
  validation {
    condition     = alltrue([for path in var.stateless_paths : can(regex("^/[a-z]", path)) && !startswith(path, "/admin") && !startswith(path, "/metrics")])
    error_message = "stateless_paths must start with / and a letter, and lead neither to /admin nor to /metrics."
  }
}

variable "behind_edges" {
  description = "Whether edges stand in front: then /healthz/realtime follows the weights, so that they learn whether calls are taken."
  type        = bool
  default     = false
}

variable "sticky_s" {
  description = "How long, in seconds, a first connect binds its caller to a color."
  type        = number
  default     = 300

  validation {
    condition     = var.sticky_s >= 1 && var.sticky_s <= 604800
    error_message = "sticky_s must be 1 to 604800 seconds."
  }
}

variable "idle_timeout_s" {
  description = "After so many silent seconds the load balancer cuts a connection. Pods send a ping every 20 s."
  type        = number
  default     = 180

  validation {
    condition     = var.idle_timeout_s >= 120 && var.idle_timeout_s <= 4000
    error_message = "idle_timeout_s must be 120 to 4000 seconds: pods send a ping every 20 s, and some of them may be lost."
  }
}

variable "pre_stop_s" {
  description = "How long the pods' preStop waits before it drains, until no load balancer sends anybody any more."
  type        = number
  default     = 10

  validation {
    condition     = var.pre_stop_s >= 0 && var.pre_stop_s <= 300
    error_message = "pre_stop_s must be 0 to 300 seconds."
  }
}

variable "drain_deadline_s" {
  description = "VOICE_DRAIN_DEADLINE of the pods: after so many seconds of a drain, what is left is closed."
  type        = number
  default     = 600

  validation {
    condition     = var.drain_deadline_s >= 1 && var.pre_stop_s + var.drain_deadline_s + 30 <= 3600
    error_message = "drain_deadline_s must be at least 1 second, and pre_stop_s + drain_deadline_s + 30 at most 3600: a target group's deregistration delay, which must cover them, cannot be longer."
  }
}

variable "termination_grace_s" {
  description = "Grace period of the pods (terminationGracePeriodSeconds, or ECS stopTimeout where that suffices)."
  type        = number
  default     = 660

  validation {
    condition     = var.termination_grace_s >= var.pre_stop_s + var.drain_deadline_s + 30
    error_message = "termination_grace_s must be at least pre_stop_s + drain_deadline_s + 30: a pod that is killed in mid-drain takes its calls' sockets with it."
  }
}

variable "deregistration_delay_s" {
  description = "How long the load balancer keeps the connections of a target that was deregistered."
  type        = number
  default     = 660

  validation {
    condition     = var.deregistration_delay_s >= 0 && var.deregistration_delay_s <= 3600
    error_message = "deregistration_delay_s must be 0 to 3600 seconds."
  }
  validation {
    condition     = var.deregistration_delay_s >= var.pre_stop_s + var.drain_deadline_s + 30
    error_message = "deregistration_delay_s must be at least pre_stop_s + drain_deadline_s + 30: Kubernetes deregisters a pod when it begins to terminate, which is before its preStop and its drain, and the load balancer cuts what outlives the delay."
  }
}
