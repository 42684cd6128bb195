"""Every index of the tuning guide that can exist."""

from infra.postgres.migrations.script import run

revision = "0002"
down_revision = "0001"


def upgrade() -> None:
    """Create the indexes."""
    run("r0002_indexes.up.sql")


def downgrade() -> None:
    """Drop the indexes."""
    run("r0002_indexes.down.sql")
