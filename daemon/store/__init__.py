"""Transactions and tables: the only code that speaks SQL."""
