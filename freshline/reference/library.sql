-- Documents of the reference application that say something one can ask about. Each statement is called by name.

-- name: insert_owner
-- Arguments: $1 email.
INSERT INTO users (email, name, password_hash) VALUES ($1, 'Reader', 'x') RETURNING id;

-- name: insert
-- Arguments: $1 owner, $2 title, $3 content.
INSERT INTO documents (uploaded_by, title, content) VALUES ($1, $2, $3) RETURNING id;

-- name: position
-- Arguments: none. The position that every change of this transaction lies behind.
SELECT (pg_current_wal_insert_lsn() - '0/0'::pg_lsn)::int8;

-- name: rewrite
-- Arguments: $1 document, $2 content.
UPDATE documents SET content = $2, updated_at = now() WHERE id = $1;
