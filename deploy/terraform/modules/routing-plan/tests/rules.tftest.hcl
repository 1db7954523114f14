# Runs anywhere, no provider needed: terraform init && terraform test

run "priorities" {
  command = plan

  assert {
    condition     = output.fixed_rules["private"].priority < min([for name, rule in merge(output.fixed_rules, output.weighted_rules) : rule.priority if name != "private"]...)
    error_message = "What is private must be refused before anything is forwarded."
  }
  assert {
    condition     = max([for rule in values(output.fixed_rules) : rule.priority]...) < min([for rule in values(output.weighted_rules) : rule.priority]...)
    error_message = "A smoke call must reach its color whatever the weights say."
  }
  assert {
    condition     = output.weighted_rules["first-connect"].priority > max([for name, rule in output.weighted_rules : rule.priority if name != "first-connect"]...)
    error_message = "A resume must not be taken for a first connect."
  }
  assert {
    condition     = length(distinct([for rule in concat(values(output.fixed_rules), values(output.weighted_rules)) : rule.priority])) == length(output.fixed_rules) + length(output.weighted_rules)
    error_message = "Two rules cannot have one priority."
  }
}

run "only_first_connects_are_sticky" {
  command = plan

  assert {
    condition     = [for name, rule in merge(output.fixed_rules, output.weighted_rules) : name if rule.sticky_s > 0] == ["first-connect"]
    error_message = "Resumes, webhooks and smoke calls must not be bound to a color."
  }
  assert {
    condition     = output.weighted_order[0] == "first-connect" && toset(output.weighted_order) == toset(keys(output.weighted_rules))
    error_message = "The cutover tool must be told of every weighted rule, that of first connects first."
  }
}

run "within_the_load_balancers_limits" {
  command = plan

  assert {
    condition     = alltrue([for rule in concat(values(output.fixed_rules), values(output.weighted_rules)) : length(rule.paths) <= 3 && length(rule.paths) + length(rule.queries) + (rule.by_key ? 1 : 0) <= 5])
    error_message = "A condition takes three values, a rule five."
  }
  assert {
    condition     = alltrue([for rule in concat(values(output.fixed_rules), values(output.weighted_rules)) : length(rule.paths) > 0])
    error_message = "A rule without paths would forward what is private under another spelling."
  }
}

run "any_two_colors" {
  command = plan
  variables {
    weights = { a = 30, b = 70 }
  }
  assert {
    condition     = output.fixed_rules["smoke-b"].by_key && output.fixed_rules["smoke-b"].color == "b"
    error_message = "Each color has a smoke rule of its own."
  }
  assert {
    condition     = alltrue([for rule in values(output.fixed_rules) : rule.by_key if rule.color != null])
    error_message = "A color whatever the weights is for those who show the key."
  }
}

run "refuses_weights_that_are_no_percents" {
  command = plan
  variables {
    weights = { blue = 50, green = 40 }
  }
  expect_failures = [var.weights]
}

run "refuses_weights_below_0" {
  command = plan
  variables {
    weights = { blue = 110, green = -10 }
  }
  expect_failures = [var.weights]
}

run "refuses_one_color" {
  command = plan
  variables {
    weights = { blue = 100 }
  }
  expect_failures = [var.weights]
}

run "refuses_to_publish_what_is_private" {
  command = plan
  variables {
    first_connect_paths = ["/admin"]
    stateless_paths     = ["/metrics"]
  }
  expect_failures = [var.first_connect_paths, var.stateless_paths]
}

run "refuses_more_paths_than_a_condition_takes" {
  command = plan
  variables {
    first_connect_paths = ["/realtime", "/v1/realtime", "/", "/talk"]
  }
  expect_failures = [var.first_connect_paths]
}

run "refuses_a_grace_that_ends_in_mid_drain" {
  command = plan
  variables {
    termination_grace_s = 639
  }
  expect_failures = [var.termination_grace_s]
}

run "refuses_a_delay_shorter_than_pre_stop_and_drain" {
  command = plan
  variables {
    deregistration_delay_s = 639
  }
  expect_failures = [var.deregistration_delay_s]
}

run "refuses_a_delay_beyond_an_hour" {
  command = plan
  variables {
    deregistration_delay_s = 3601
  }
  expect_failures = [var.deregistration_delay_s]
}

run "refuses_a_timeout_that_cuts_silent_callers" {
  command = plan
  variables {
    idle_timeout_s = 60
  }
  expect_failures = [var.idle_timeout_s]
}

run "refuses_cookies_that_live_for_ever" {
  command = plan
  variables {
    sticky_s = 604801
  }
  expect_failures = [var.sticky_s]
}

run "refuses_times_that_no_delay_can_cover" {
  command = plan
  variables {
    pre_stop_s             = 20
    drain_deadline_s       = 3551
    termination_grace_s    = 3700
    deregistration_delay_s = 3600
  }
  expect_failures = [var.drain_deadline_s]
}

run "takes_the_bounds" {
  command = plan
  variables {
    weights                = { blue = 0, green = 100 }
    sticky_s               = 1
    idle_timeout_s         = 120
    pre_stop_s             = 20
    drain_deadline_s       = 3550
    termination_grace_s    = 3600
    deregistration_delay_s = 3600
  }
  assert {
    condition     = output.timings.deregistration_delay_s == 3600
    error_message = "The bounds themselves are allowed."
  }
}

run "edges_learn_whether_calls_are_taken" {
  command = plan
  variables {
    behind_edges = true
  }
  assert {
    condition     = output.weighted_rules["health"].paths == ["/healthz/realtime"] && contains(output.weighted_order, "health") && output.weighted_order[0] == "first-connect"
    error_message = "A cutover must change the rule of health, too."
  }
  assert {
    condition     = [for name, rule in merge(output.fixed_rules, output.weighted_rules) : name if rule.sticky_s > 0] == ["first-connect"]
    error_message = "The health of a color must not be asked of another."
  }
}
