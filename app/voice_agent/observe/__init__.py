"""What operators see of a pod: metrics and logs."""
