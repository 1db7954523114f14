"""Running what a language model wants done: functions and webhooks, each at most once for what is durable."""
