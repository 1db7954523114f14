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
  description = "Subnets of the callers' load balancer, at least two."
  type        = list(string)
}

variable "private_subnet_ids" {
  description = "Subnets of the internal load balancer and of Redis, at least two."
  type        = list(string)
}

variable "private_cidrs" {
  description = "IPv4 ranges of those subnets, and of the edges: who may connect to the internal load balancer."
  type        = list(string)
}

variable "edge_security_group_ids" {
  description = "Security groups of the edges; none makes one."
  type        = list(string)
  default     = []
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

variable "inside_hostname" {
  description = "The host name by which edges know the internal load balancer."
  type        = string
}

variable "private_zone_id" {
  description = "Private Route 53 zone of that name."
  type        = string
}

variable "inside_certificate_arn" {
  description = "ACM certificate of that name; edges verify it."
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

variable "alarm_topic_arns" {
  description = "SNS topics that alarms and their ends are sent to."
  type        = list(string)
  default     = []
}
