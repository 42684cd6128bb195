"""Users, conversations, messages and documents."""

from infra.postgres.migrations.script import run

revision = "0001"
down_revision = None


def upgrade() -> None:
    """Create the tables."""
    run("r0001_tables.up.sql")


def downgrade() -> None:
    """Drop them, and what they hold."""
    run("r0001_tables.down.sql")
