-- Every index of the tuning guide that can exist, under the guide's names. The tables are new when this runs, so none is
-- built CONCURRENTLY (which a transaction would not allow).

-- Foreign keys.
CREATE INDEX idx_conversations_user_id ON conversations (user_id);
CREATE INDEX idx_messages_conversation_id ON messages (conversation_id);
CREATE INDEX idx_documents_uploaded_by ON documents (uploaded_by);

-- Columns that are often filtered by.
CREATE INDEX idx_users_email ON users (email);
CREATE INDEX idx_conversations_created_at ON conversations (created_at);
CREATE INDEX idx_messages_timestamp ON messages ("timestamp");

-- The application's common queries: the messages of a conversation in order, the conversations of a user by age.
CREATE INDEX idx_messages_conversation_timestamp ON messages (conversation_id, "timestamp");
CREATE INDEX idx_conversations_user_created ON conversations (user_id, created_at);

-- Active users only.
CREATE INDEX idx_active_users ON users (id) WHERE is_active = true;

-- The guide has this one WHERE created_at > NOW() - INTERVAL '30 days', which Postgres refuses: the condition of a partial
-- index must be immutable, since rows do not move out of an index as time goes by. The nearest that can exist leads with
-- the time, so that "the last 30 days" is one short range at its end, and holds the id, so that the index alone answers.
CREATE INDEX idx_recent_conversations ON conversations (created_at, id);

-- Full-text search.
CREATE INDEX idx_documents_fts ON documents USING gin (to_tsvector('english', content));
