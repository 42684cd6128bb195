-- What the reference application reads besides rows. Every result is in one order, so that equal results are equal bytes.

-- name: conversations_of_user
-- Arguments: $1 id of a user.
-- Promise: the user's newest conversations.
SELECT id, title, metadata::text AS metadata, updated_at FROM conversations WHERE user_id = $1 ORDER BY id DESC LIMIT 50;

-- name: messages_of_conversation
-- Arguments: $1 id of a conversation.
-- Promise: its newest messages.
SELECT id, role::text AS role, content, tokens, "timestamp" FROM messages WHERE conversation_id = $1 ORDER BY id DESC LIMIT 50;

-- name: dashboard_of_user
-- Arguments: $1 id of a user.
-- Promise: one row: his name, and what he has.
SELECT (SELECT name FROM users WHERE id = $1) AS name,
       (SELECT count(*) FROM conversations WHERE user_id = $1) AS conversations,
       (SELECT max(updated_at) FROM conversations WHERE user_id = $1) AS last_conversation_at,
       (SELECT count(*) FROM documents WHERE uploaded_by = $1) AS documents,
       (SELECT sum(size_mb)::text FROM documents WHERE uploaded_by = $1) AS documents_mb;

-- name: version_of_user
-- Arguments: $1 id of a user.
-- Promise: how often he was changed; no row where there is none.
SELECT coalesce((preferences ->> 'version')::bigint, 0) FROM users WHERE id = $1;

-- name: owner_of_conversation
-- Arguments: $1 id of a conversation.
-- Promise: its user; no row where there is none.
SELECT user_id FROM conversations WHERE id = $1;
