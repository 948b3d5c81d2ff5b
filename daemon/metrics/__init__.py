"""Figures for Prometheus: what they are, how they are gathered, and the pages that show them."""
