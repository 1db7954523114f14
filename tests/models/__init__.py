"""Trials of agents with models: providers fail, pods die, and callers count the words that they hear.

``python -m tests.models --help``
"""
