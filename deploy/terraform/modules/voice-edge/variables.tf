variable "name" {
  description = "Name of everything this module makes, and prefix of the rest."
  type        = string
  default     = "voice-edge"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name)) && !strcontains(var.name, "--") && !startswith(var.name, "internal-")
    error_message = "name must be 2 to 20 small letters, digits and single hyphens, start with a letter and not with internal-."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}

variable "vpc_id" {
  description = "The VPC of the load balancer and the edges."
  type        = string
}

variable "alb_subnet_ids" {
  description = "Public subnets of the load balancer, in at least two availability zones."
  type        = list(string)

  validation {
    condition     = length(distinct(var.alb_subnet_ids)) >= 2
    error_message = "alb_subnet_ids must name at least two subnets, in different availability zones."
  }
}

variable "ingress_cidrs" {
  description = "IPv4 ranges that may connect to the load balancer."
  type        = list(string)
  default     = ["0.0.0.0/0"]

  validation {
    condition     = length(var.ingress_cidrs) > 0 && alltrue([for cidr in var.ingress_cidrs : can(cidrnetmask(cidr))])
    error_message = "ingress_cidrs must hold at least one IPv4 range such as 203.0.113.0/24."
  }
}

variable "inside_cidrs" {
  description = "IPv4 ranges of the internal load balancer's subnets; only for a security group that this module makes."
  type        = list(string)
  default     = []

  validation {
    condition     = alltrue([for cidr in var.inside_cidrs : can(cidrnetmask(cidr))])
    error_message = "inside_cidrs must hold IPv4 ranges such as 10.0.0.0/20."
  }
}

variable "edge_security_group_ids" {
  description = "Security groups of the edges, if there are some already (those of the cluster's nodes, for instance); none makes one."
  type        = list(string)
  default     = []
}

variable "pod_security_group_ids" {
  description = "Security groups of the pods (the output of modules/voice-agent): edges may connect to them past the load balancer, for calls that an operator moves to a pod; none forbids it, and then VOICE_EDGE_DIRECT must be 0."
  type        = list(string)
  default     = []
}

variable "inside_hostname" {
  description = "Host name of the internal load balancer, the hostname of modules/voice-agent: what VOICE_EDGE_TO leads to."
  type        = string
}

variable "hostname" {
  description = "The host name callers use."
  type        = string
}

variable "certificate_arn" {
  description = "ACM certificate of the host name."
  type        = string

  validation {
    condition     = startswith(var.certificate_arn, "arn:")
    error_message = "certificate_arn must be the ARN of a certificate in ACM or IAM: without TLS, keys and tokens travel in clear text."
  }
}

variable "ssl_policy" {
  description = "What the load balancer speaks with callers: TLS 1.3, and 1.2 at the least."
  type        = string
  default     = "ELBSecurityPolicy-TLS13-1-2-Res-2021-06"

  validation {
    condition     = can(regex("^ELBSecurityPolicy-TLS13-1-[23]-", var.ssl_policy))
    error_message = "ssl_policy must be one of TLS 1.3 that allows nothing below 1.2, such as ELBSecurityPolicy-TLS13-1-2-Res-2021-06."
  }
}

variable "deletion_protection" {
  description = "Whether the load balancer must be unprotected before it can be deleted."
  type        = bool
  default     = true
}

variable "idle_timeout_s" {
  description = "After so many silent seconds the load balancer cuts a connection (120 to 4000); edges send a ping every 20 s."
  type        = number
  default     = 180

  validation {
    condition     = var.idle_timeout_s >= 120 && var.idle_timeout_s <= 4000
    error_message = "idle_timeout_s must be 120 to 4000 seconds: edges send a ping every 20 s, and some of them may be lost."
  }
}

variable "pre_stop_s" {
  description = "How long an edge must go on after it was told to leave, until no load balancer sends anybody any more (0 to 300)."
  type        = number
  default     = 10

  validation {
    condition     = var.pre_stop_s >= 0 && var.pre_stop_s <= 300
    error_message = "pre_stop_s must be 0 to 300 seconds."
  }
}

variable "drain_deadline_s" {
  description = "VOICE_EDGE_DRAIN_DEADLINE, in seconds (1 to 3570 less pre_stop_s): who cannot come back may end his call until then."
  type        = number
  default     = 3550

  validation {
    condition     = var.drain_deadline_s >= 1 && var.pre_stop_s + var.drain_deadline_s + 30 <= 3600
    error_message = "drain_deadline_s must be at least 1 second, and pre_stop_s + drain_deadline_s + 30 at most 3600: a target group's deregistration delay cannot be longer."
  }
}

variable "deregistration_delay_s" {
  description = "How long the load balancer keeps the connections of an edge that leaves, in seconds (pre_stop_s + drain_deadline_s + 30 to 3600)."
  type        = number
  default     = 3600

  validation {
    condition     = var.deregistration_delay_s <= 3600 && var.deregistration_delay_s >= var.pre_stop_s + var.drain_deadline_s + 30
    error_message = "deregistration_delay_s must be at least pre_stop_s + drain_deadline_s + 30, and at most 3600: the load balancer cuts what outlives the delay."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms and their ends are sent to."
  type        = list(string)
  default     = []
}
