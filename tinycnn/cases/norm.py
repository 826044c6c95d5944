"""Rows of the family."""

CASES = []
