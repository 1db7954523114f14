# Edges in front of the pods (docs/edge.md): two load balancers, of which callers see one.
# The cutover tool works on the internal one; outputs.tf hands its names on as without edges.

provider "aws" {
  region = var.region
}

module "voice_edge" {
  source = "../../modules/voice-edge"

  vpc_id                  = var.vpc_id
  alb_subnet_ids          = var.public_subnet_ids
  edge_security_group_ids = var.edge_security_group_ids
  inside_cidrs            = var.private_cidrs
  pod_security_group_ids  = module.voice_agent.pod_security_group_ids

  hostname        = var.hostname
  certificate_arn = var.certificate_arn
  inside_hostname = var.inside_hostname

  alarm_topic_arns = var.alarm_topic_arns
}

module "voice_agent" {
  source = "../../modules/voice-agent"

  vpc_id                 = var.vpc_id
  alb_subnet_ids         = var.private_subnet_ids
  private_subnet_ids     = var.private_subnet_ids
  pod_security_group_ids = var.pod_security_group_ids

  operator_security_group_ids = var.operator_security_group_ids

  # Callers do not get past the edges; edges may ask whether calls are taken.
  internal      = true
  behind_edges  = true
  ingress_cidrs = var.private_cidrs

  hostname        = var.inside_hostname
  certificate_arn = var.inside_certificate_arn

  color_key        = var.color_key
  redis_auth_token = var.redis_auth_token
  alarm_topic_arns = var.alarm_topic_arns
}

resource "aws_route53_record" "callers" {
  zone_id = var.zone_id
  name    = var.hostname
  type    = "A"

  alias {
    name                   = module.voice_edge.alb_dns_name
    zone_id                = module.voice_edge.alb_zone_id
    evaluate_target_health = true
  }
}

resource "aws_route53_record" "inside" {
  zone_id = var.private_zone_id
  name    = var.inside_hostname
  type    = "A"

  alias {
    name                   = module.voice_agent.alb_dns_name
    zone_id                = module.voice_agent.alb_zone_id
    evaluate_target_health = false # an edge that cannot find the name tells less than one that is refused
  }
}
