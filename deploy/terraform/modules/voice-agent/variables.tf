variable "name" {
  description = "Name of everything this module makes, and prefix of the rest."
  type        = string
  default     = "voice-agent"

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{0,18}[a-z0-9]$", var.name)) && !strcontains(var.name, "--") && !startswith(var.name, "internal-")
    error_message = "name must be 2 to 20 small letters, digits and single hyphens, start with a letter and not with internal-: load balancers, target groups and replication groups take no other names."
  }
}

variable "tags" {
  description = "Tags of everything this module makes."
  type        = map(string)
  default     = {}
}

# ---- network

variable "vpc_id" {
  description = "The VPC of the load balancer, the pods and Redis."
  type        = string
}

variable "alb_subnet_ids" {
  description = "Subnets of the load balancer, in at least two availability zones; public ones unless internal."
  type        = list(string)

  validation {
    condition     = length(distinct(var.alb_subnet_ids)) >= 2
    error_message = "alb_subnet_ids must name at least two subnets, in different availability zones."
  }
}

variable "private_subnet_ids" {
  description = "Subnets of Redis, in at least two availability zones."
  type        = list(string)

  validation {
    condition     = length(distinct(var.private_subnet_ids)) >= 2
    error_message = "private_subnet_ids must name at least two subnets, in different availability zones: a replica beside its master fails with it."
  }
}

variable "internal" {
  description = "Whether the load balancer is reachable from inside the VPC only."
  type        = bool
  default     = false
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

variable "pod_security_group_ids" {
  description = "Security groups of the pods, if there are some already (those of the cluster's nodes, for instance); none makes one."
  type        = list(string)
  default     = []
}

variable "pod_https_egress_cidrs" {
  description = "Where pods may speak HTTPS to (agents' providers, CloudWatch); only for a security group that this module makes."
  type        = list(string)
  default     = ["0.0.0.0/0"]
}

variable "operator_security_group_ids" {
  description = "Security groups of hosts and pods, other than the pods of calls, that may connect to Redis: whoever runs the cutover or publishes metrics."
  type        = list(string)
  default     = []
}

# ---- load balancer

variable "hostname" {
  description = "The host name callers use; null is the load balancer's own, for which no certificate can exist."
  type        = string
  default     = null
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

variable "access_logs_bucket" {
  description = "S3 bucket for the load balancer's access logs; null writes none. They hold each URL with its query, and so call keys and resume tokens."
  type        = string
  default     = null
}

variable "algorithm" {
  description = "How a color's targets are chosen: least_outstanding_requests or round_robin."
  type        = string
  default     = "least_outstanding_requests"

  validation {
    condition     = contains(["least_outstanding_requests", "round_robin"], var.algorithm)
    error_message = "algorithm must be least_outstanding_requests or round_robin."
  }
}

# ---- routing and time; validated in modules/routing-plan

variable "weights" {
  description = "Percent of the callers by color when the rules are created; later changes are the cutover tool's and ignored here."
  type        = map(number)
  default     = { blue = 100, green = 0 }
}

variable "behind_edges" {
  description = "Whether edges stand in front: then /healthz/realtime follows the weights, so that they learn whether calls are taken."
  type        = bool
  default     = false
}

variable "sticky_s" {
  description = "How long, in seconds, a first connect binds its caller to a color and a pod (1 to 604800)."
  type        = number
  default     = 300
}

variable "idle_timeout_s" {
  description = "After so many silent seconds the load balancer cuts a connection (120 to 4000); pods send a ping every 20 s."
  type        = number
  default     = 180
}

variable "color_key" {
  description = "Who shows it beside a color, in the header X-Voice-Color, reaches that color at any weight (VOICE_COLOR_KEY of the smoke call): 16 to 100 letters, digits, - and _ ; for instance from openssl rand -hex 16."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9_-]{16,100}$", var.color_key))
    error_message = "color_key must be 16 to 100 letters, digits, - and _ : a shorter one can be guessed, and * or ? would be a pattern to the load balancer."
  }
}

variable "pre_stop_s" {
  description = "How long the pods' preStop waits before it drains, in seconds (0 to 300)."
  type        = number
  default     = 10
}

variable "drain_deadline_s" {
  description = "VOICE_DRAIN_DEADLINE of the pods, in seconds (1 to 3570 less pre_stop_s)."
  type        = number
  default     = 600
}

variable "termination_grace_s" {
  description = "Grace period of the pods, in seconds; at least pre_stop_s + drain_deadline_s + 30."
  type        = number
  default     = 660
}

variable "deregistration_delay_s" {
  description = "How long the load balancer keeps the connections of a deregistered target, in seconds (pre_stop_s + drain_deadline_s + 30 to 3600)."
  type        = number
  default     = 660
}

# ---- Redis

variable "redis_auth_token" {
  description = "Password of Redis: 32 to 128 letters, digits and any of !&#$^<>- ; for instance from openssl rand -hex 32."
  type        = string
  sensitive   = true

  validation {
    condition     = can(regex("^[A-Za-z0-9!&#$^<>-]{32,128}$", var.redis_auth_token))
    error_message = "redis_auth_token must be 32 to 128 letters, digits and any of !&#$^<>- : ElastiCache takes no other characters."
  }
}

variable "redis_engine" {
  description = "Engine and version of the store: redis 7.x or valkey 7.2 and later."
  type        = object({ name = string, version = string })
  default     = { name = "redis", version = "7.1" }

  validation {
    condition     = (var.redis_engine.name == "redis" && startswith(var.redis_engine.version, "7.")) || (var.redis_engine.name == "valkey" && can(regex("^([789]|[1-9][0-9])\\.", var.redis_engine.version)))
    error_message = "redis_engine must be redis 7.x, or valkey 7.2 or later."
  }
}

variable "redis_node_type" {
  description = "Type of Redis' nodes. A call needs about 1 MiB at the most (VOICE_OUTBOX_BYTES) and its uncommitted speech."
  type        = string
  default     = "cache.r7g.large"
}

variable "redis_replicas" {
  description = "Replicas beside the primary (1 to 5). With one alone, writes stop while that one is away."
  type        = number
  default     = 2

  validation {
    condition     = var.redis_replicas >= 1 && var.redis_replicas <= 5 && floor(var.redis_replicas) == var.redis_replicas
    error_message = "redis_replicas must be 1 to 5: without a replica there is nothing to fail over to."
  }
}

variable "redis_kms_key_arn" {
  description = "KMS key for what Redis keeps on disk; null is AWS' own."
  type        = string
  default     = null
}

variable "redis_snapshot_days" {
  description = "How many daily snapshots are kept (0 to 35). Calls live for half an hour: a snapshot is for inquiries, not for recovery."
  type        = number
  default     = 1

  validation {
    condition     = var.redis_snapshot_days >= 0 && var.redis_snapshot_days <= 35
    error_message = "redis_snapshot_days must be 0 to 35."
  }
}

variable "redis_snapshot_window" {
  description = "When the daily snapshot is taken, in UTC."
  type        = string
  default     = "03:00-04:00"
}

variable "redis_maintenance_window" {
  description = "When AWS may replace nodes, in UTC; it fails over to do so."
  type        = string
  default     = "sun:04:30-sun:05:30"
}

# ---- alarms

variable "cloudwatch_namespace" {
  description = "Where `voice-agent fleet --cloudwatch` publishes ActiveCalls, DroppedCalls, FailedCalls and EndedCalls."
  type        = string
  default     = "VoiceAgent"

  validation {
    condition     = can(regex("^[A-Za-z0-9._/#-]{1,255}$", var.cloudwatch_namespace)) && !startswith(var.cloudwatch_namespace, "AWS/")
    error_message = "cloudwatch_namespace must be letters, digits and any of ._/#- and must not start with AWS/, which is reserved."
  }
}

variable "alarm_topic_arns" {
  description = "SNS topics that alarms and their ends are sent to; the first one also hears of Redis' failovers."
  type        = list(string)
  default     = []
}

variable "redis_memory_alarm_percent" {
  description = "How full a Redis node may be. Nothing is evicted: at 100 writes fail and pods live from memory."
  type        = number
  default     = 75

  validation {
    condition     = var.redis_memory_alarm_percent > 0 && var.redis_memory_alarm_percent < 100
    error_message = "redis_memory_alarm_percent must be between 0 and 100."
  }
}
