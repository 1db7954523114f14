"""Two releases that share a store."""
