"""Where a cutover gets its numbers from: one module a source."""
