"""Providers of language models, ears and voices as tests need them: their words can be counted, and they fail to order.

Started by hand: ``python -m tests.doubles --help``.
"""
