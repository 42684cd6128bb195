-- What the reference application's servers write.

-- name: insert_user
-- Arguments: $1 email, $2 name, $3 preferences.
-- Promise: the id of a new user.
INSERT INTO users (email, name, password_hash, preferences) VALUES ($1, $2, 'not-a-hash', $3::jsonb) RETURNING id;

-- name: insert_conversation
-- Arguments: $1 its user, $2 title, $3 metadata.
-- Promise: the id of a new conversation.
INSERT INTO conversations (user_id, title, metadata) VALUES ($1, $2, $3::jsonb) RETURNING id;

-- name: insert_message
-- Arguments: $1 its conversation, $2 role, $3 content, $4 tokens or null.
-- Promise: the id of a new message.
INSERT INTO messages (conversation_id, role, content, tokens) VALUES ($1, $2::text::message_role, $3, $4) RETURNING id;

-- name: insert_document
-- Arguments: $1 who uploads it, $2 title, $3 content, $4 size or null.
-- Promise: the id of a new document.
INSERT INTO documents (uploaded_by, title, content, size_mb) VALUES ($1, $2, $3, $4::text::numeric) RETURNING id;

-- name: insert_many_messages
-- Arguments: $1 their conversation, $2 how many, $3 content.
-- Promise: the ids of new messages, from one statement.
INSERT INTO messages (conversation_id, role, content)
SELECT $1, 'user', $3 || n FROM generate_series(1, $2::int) AS n RETURNING id;

-- name: update_user
-- Arguments: $1 id, $2 name, $3 whether he is active.
-- Promise: the version of the row afterwards, which only grows; no row where there is no such user.
UPDATE users
   SET name = $2, is_active = $3, updated_at = now(),
       preferences = preferences || jsonb_build_object('version', coalesce((preferences ->> 'version')::bigint, 0) + 1)
 WHERE id = $1
RETURNING (preferences ->> 'version')::bigint AS version;

-- name: update_conversation
-- Arguments: $1 id, $2 title, $3 metadata.
UPDATE conversations SET title = $2, metadata = $3::jsonb, updated_at = now() WHERE id = $1 RETURNING id;

-- name: update_message
-- Arguments: $1 id, $2 content, $3 tokens or null.
UPDATE messages SET content = $2, tokens = $3 WHERE id = $1 RETURNING id;

-- name: rename_document
-- Arguments: $1 id, $2 title.
-- Promise: its content, which may be TOASTed, is left alone.
UPDATE documents SET title = $2, updated_at = now() WHERE id = $1 RETURNING id;

-- name: rewrite_document
-- Arguments: $1 id, $2 content, $3 size or null.
UPDATE documents SET content = $2, size_mb = $3::text::numeric, updated_at = now() WHERE id = $1 RETURNING id;

-- name: touch_user
-- Arguments: $1 id.
-- Promise: a change that leaves every value as it was.
UPDATE users SET name = name WHERE id = $1 RETURNING id;

-- name: update_many_conversations
-- Arguments: $1 ids, $2 title.
-- Promise: one statement changes them all; the ids of those that there are.
UPDATE conversations SET title = $2, updated_at = now() WHERE id = ANY ($1::bigint[]) RETURNING id;

-- name: move_conversation
-- Arguments: $1 id, $2 its new user.
UPDATE conversations SET user_id = $2, updated_at = now() WHERE id = $1 RETURNING id;

-- name: move_document
-- Arguments: $1 id, $2 its new user.
UPDATE documents SET uploaded_by = $2, updated_at = now() WHERE id = $1 RETURNING id;

-- name: move_message
-- Arguments: $1 id, $2 its new conversation.
UPDATE messages SET conversation_id = $2 WHERE id = $1 RETURNING id;

-- name: change_user_id
-- Arguments: $1 id.
-- Promise: the new id, which nothing had before. What the user has follows.
UPDATE users SET id = nextval(pg_get_serial_sequence('users', 'id')) WHERE id = $1 RETURNING id;

-- name: change_conversation_id
-- Arguments: $1 id.
-- Promise: the new id, which nothing had before. Its messages follow.
UPDATE conversations SET id = nextval(pg_get_serial_sequence('conversations', 'id')) WHERE id = $1 RETURNING id;

-- name: change_document_id
-- Arguments: $1 id.
-- Promise: the new id, which nothing had before.
UPDATE documents SET id = nextval(pg_get_serial_sequence('documents', 'id')) WHERE id = $1 RETURNING id;

-- name: owned_by_user
-- Arguments: $1 id of a user.
-- Promise: what goes when he goes: its table and id.
SELECT 'conversations' AS owned, id FROM conversations WHERE user_id = $1
UNION ALL SELECT 'documents', id FROM documents WHERE uploaded_by = $1;

-- name: delete_user
-- Arguments: $1 id.
DELETE FROM users WHERE id = $1 RETURNING id;

-- name: delete_conversation
-- Arguments: $1 id.
DELETE FROM conversations WHERE id = $1 RETURNING id;

-- name: delete_message
-- Arguments: $1 id.
DELETE FROM messages WHERE id = $1 RETURNING id;

-- name: delete_document
-- Arguments: $1 id.
DELETE FROM documents WHERE id = $1 RETURNING id;

-- name: truncate_messages
-- Arguments: none.
TRUNCATE messages;

-- name: truncate_documents
-- Arguments: none.
TRUNCATE documents;

-- name: known_users
-- Arguments: $1 how many.
SELECT id FROM users ORDER BY id DESC LIMIT $1;

-- name: known_conversations
-- Arguments: $1 how many.
SELECT id FROM conversations ORDER BY id DESC LIMIT $1;

-- name: known_messages
-- Arguments: $1 how many.
SELECT id FROM messages ORDER BY id DESC LIMIT $1;

-- name: known_documents
-- Arguments: $1 how many.
SELECT id FROM documents ORDER BY id DESC LIMIT $1;
