"""An index over the words of documents, title and content together, as the search asks for them."""

from infra.postgres.migrations.script import run

revision = "0003"
down_revision = "0002"


def upgrade() -> None:
    """Create the index."""
    run("r0003_document_words.up.sql")


def downgrade() -> None:
    """Drop it."""
    run("r0003_document_words.down.sql")
