"""Faults done to the real daemon from outside, and the audit that every run must pass.

`python -m tests.faults --help` runs the long versions.
"""
