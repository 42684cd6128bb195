"""The reference catalog: VoiceAssist, a voice assistant that answers from documents."""

from schemas.catalog import Catalog, Column, Indexed, Table

USERS = Table(
    name="users",
    key=("id",),
    entry="user:{id}",
    tags=("user:{id}",),
    columns=(
        Column("id", "int8"),
        Column("email", "text"),
        Column("name", "text"),
        Column("is_active", "bool"),
        Column("preferences", "jsonb"),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
)

CONVERSATIONS = Table(
    name="conversations",
    key=("id",),
    entry="conversation:{id}",
    tags=("conversation:{id}", "user:{user_id}"),
    columns=(
        Column("id", "int8"),
        Column("user_id", "int8"),
        Column("title", "text"),
        Column("metadata", "jsonb"),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
)

MESSAGES = Table(
    name="messages",
    key=("id",),
    tags=("conversation:{conversation_id}",),
    columns=(
        Column("id", "int8"),
        Column("conversation_id", "int8"),
        Column("role", "enum"),
        Column("content", "text"),
        Column("tokens", "int4", nullable=True),
        Column("timestamp", "timestamptz"),
    ),
)

DOCUMENTS = Table(
    name="documents",
    key=("id",),
    entry="document:{id}",
    tags=("document:{id}", "user:{uploaded_by}", "library:{uploaded_by}"),
    columns=(
        Column("id", "int8"),
        Column("uploaded_by", "int8"),
        Column("title", "text"),
        Column("content", "text"),
        Column("content_type", "text"),
        Column("size_mb", "numeric", nullable=True),
        Column("created_at", "timestamptz"),
        Column("updated_at", "timestamptz"),
    ),
    index=Indexed(
        columns=("title", "content"),
        tag="document:{id}",
        library="library:{uploaded_by}",
        tenant="uploaded_by",
        language="english",
    ),
)

VOICEASSIST = Catalog((USERS, CONVERSATIONS, MESSAGES, DOCUMENTS))
