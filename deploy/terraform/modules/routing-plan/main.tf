# The listener's rules as data: which request goes where, in which order. No provider is needed to
# compute or to test this. The conditions of a rule are ANDed, the values of a condition ORed; the
# load balancer takes three values a condition and five a rule. What no rule matches gets a 404.

locals {
  colors = sort(keys(var.weights))

  socket_paths = ["/realtime", "/v1/realtime"]

  # For the operator's eyes only. Everything below also names its paths, so that another spelling of
  # these (percent-encoded, say) finds no rule at all.
  private_paths = ["/admin", "/admin/*", "/metrics*"]

  rule_defaults = {
    color    = null # forward to this color alone
    weighted = false
    sticky_s = 0
    by_key   = false # for those alone who show the key beside the color
    queries  = []
  }

  private = {
    private = merge(local.rule_defaults, { priority = 1, paths = local.private_paths })
  }

  # Smoke calls: reach the color they name at weight 0, too, and show the key. Without it any caller could go round a
  # cutover. These rules also keep a color that no weighted rule names in use, and so its targets checked.
  smoke = {
    for index, color in local.colors : "smoke-${color}" => merge(local.rule_defaults, {
      priority = 10 + index
      color    = color
      by_key   = true
      paths    = concat(local.socket_paths, ["/realtime/call_*"])
    })
  }

  # Resumes follow the weights whatever cookie they bring: the call is in the store, and a cookie
  # would lead back to the color that is being emptied.
  weighted = merge({
    resume-by-query = merge(local.rule_defaults, {
      priority = 20
      weighted = true
      paths    = local.socket_paths
      queries  = [{ key = "call_id", value = "*" }, { key = "call_key", value = "*" }]
    })
    resume-by-path = merge(local.rule_defaults, {
      priority = 21
      weighted = true
      paths    = ["/realtime/call_*"]
    })
    stateless = merge(local.rule_defaults, {
      priority = 30
      weighted = true
      paths    = var.stateless_paths
    })
    first-connect = merge(local.rule_defaults, {
      priority = 40
      weighted = true
      paths    = var.first_connect_paths
      sticky_s = var.sticky_s
    })
    }, {
    # Edges ask whether calls are taken. It follows the weights: the color that is being emptied refuses.
    for name in var.behind_edges ? ["health"] : [] : name => merge(local.rule_defaults, {
      priority = 31
      weighted = true
      paths    = ["/healthz/realtime"]
    })
  })
}
