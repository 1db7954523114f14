"""Load on servers, and what they make of it."""
