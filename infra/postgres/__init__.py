"""Postgres: connections, the statements that Freshline needs, and what it prepares in a database."""
