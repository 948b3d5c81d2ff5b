"""Alembic migrations; revision identifiers are the sortable numbers that file names begin with."""
