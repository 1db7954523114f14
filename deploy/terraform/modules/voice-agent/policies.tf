# IAM policy documents for the two who speak to AWS; attach them to the roles that you run them with.

locals {
  publish_policy = {
    Version = "2012-10-17"
    Statement = [{
      Sid       = "PublishCallsByColor"
      Effect    = "Allow"
      Action    = ["cloudwatch:PutMetricData"]
      Resource  = ["*"] # metrics have no ARN; the namespace is what confines it
      Condition = { StringEquals = { "cloudwatch:namespace" = var.cloudwatch_namespace } }
    }]
  }

  cutover_policy = {
    Version = "2012-10-17"
    Statement = [
      {
        Sid    = "ReadRouting"
        Effect = "Allow"
        Action = [
          "elasticloadbalancing:DescribeListeners",
          "elasticloadbalancing:DescribeRules",
          "elasticloadbalancing:DescribeTargetGroups",
          "elasticloadbalancing:DescribeTargetHealth",
        ]
        Resource = ["*"] # AWS knows no narrower permission to describe
      },
      {
        Sid      = "ShiftWeights"
        Effect   = "Allow"
        Action   = ["elasticloadbalancing:ModifyRule"]
        Resource = local.weighted_rule_arns
      },
      {
        Sid      = "RetireColor"
        Effect   = "Allow"
        Action   = ["elasticloadbalancing:DeregisterTargets"]
        Resource = values(local.target_group_arns)
      },
      {
        Sid      = "CountCalls"
        Effect   = "Allow"
        Action   = ["cloudwatch:GetMetricData"]
        Resource = ["*"] # metrics have no ARN
      },
    ]
  }
}
