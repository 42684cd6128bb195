-- Exactly the expression of infra/postgres/full_text.py (document_expression), by which Postgres knows that it fits.
CREATE INDEX documents_words ON documents USING gin (
    to_tsvector('english', left(coalesce(title, '') || E'\n' || coalesce(content, ''), 250000))
);
