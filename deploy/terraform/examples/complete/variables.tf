variable "region" {
  description = "AWS region."
  type        = string
  default     = "eu-central-1"
}

variable "vpc_id" {
  description = "The VPC to build in."
  type        = string
}

variable "public_subnet_ids" {
  description = "Subnets of the load balancer, at least two."
  type        = list(string)
}

variable "private_subnet_ids" {
  description = "Subnets of Redis, at least two."
  type        = list(string)
}

variable "pod_security_group_ids" {
  description = "Security groups of the cluster's nodes or pods; none makes one."
  type        = list(string)
  default     = []
}

variable "operator_security_group_ids" {
  description = "Security groups of those who run the cutover; they may connect to Redis."
  type        = list(string)
  default     = []
}

variable "hostname" {
  description = "The host name callers use."
  type        = string
}

variable "zone_id" {
  description = "Route 53 zone of the host name."
  type        = string
}

variable "certificate_arn" {
  description = "ACM certificate of the host name, in the same region."
  type        = string
}

variable "redis_auth_token" {
  description = "Password of Redis; give it as TF_VAR_redis_auth_token, never in a file that is committed."
  type        = string
  sensitive   = true
}

variable "color_key" {
  description = "With it the smoke call reaches a color at any weight; give it as TF_VAR_color_key."
  type        = string
  sensitive   = true
}

variable "alarm_kms_key_id" {
  description = "KMS key of the alarms' topic; CloudWatch must be allowed to use it, which AWS' own alias/aws/sns does not do."
  type        = string
}
