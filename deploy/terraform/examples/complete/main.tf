provider "aws" {
  region = var.region
}

resource "aws_sns_topic" "alarms" {
  name              = "voice-agent-alarms"
  kms_master_key_id = var.alarm_kms_key_id
}

module "voice_agent" {
  source = "../../modules/voice-agent"

  vpc_id                 = var.vpc_id
  alb_subnet_ids         = var.public_subnet_ids
  private_subnet_ids     = var.private_subnet_ids
  pod_security_group_ids = var.pod_security_group_ids

  # The host, or the pods, that run `voice-agent cutover`.
  operator_security_group_ids = var.operator_security_group_ids

  hostname        = var.hostname
  certificate_arn = var.certificate_arn

  # The times belong together; the module refuses those that would cut calls off.
  sticky_s               = 300
  idle_timeout_s         = 180
  pre_stop_s             = 10
  drain_deadline_s       = 600
  termination_grace_s    = 660
  deregistration_delay_s = 660

  color_key = var.color_key

  redis_auth_token = var.redis_auth_token
  redis_node_type  = "cache.r7g.large"
  redis_replicas   = 2

  alarm_topic_arns = [aws_sns_topic.alarms.arn]

  tags = { Environment = "production" }
}

resource "aws_route53_record" "callers" {
  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"

  alias {
    name                   = module.voice_agent.alb_dns_name
    zone_id                = module.voice_agent.alb_zone_id
    evaluate_target_health = true
  }
}

resource "aws_iam_policy" "publish_metrics" {
  name        = "voice-agent-publish-metrics"
  description = "For the role that runs voice-agent fleet --cloudwatch"
  policy      = module.voice_agent.publish_metrics_policy_json
}

resource "aws_iam_policy" "cutover" {
  name        = "voice-agent-cutover"
  description = "For the role that runs voice-agent cutover"
  policy      = module.voice_agent.cutover_policy_json
}
