"""Alembic's entry point: it runs the revisions on the connection that ``migrate`` hands over, each in a transaction."""

from alembic import context

context.configure(
    connection=context.config.attributes["connection"],
    version_table="voiceassist_migration",
    transaction_per_migration=True,
)
with context.begin_transaction():
    context.run_migrations()
