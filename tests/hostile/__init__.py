"""Callers who mean harm, beside callers who talk: what the others notice, and what the harm-doers get."""
