DROP INDEX idx_documents_fts, idx_recent_conversations, idx_active_users, idx_conversations_user_created,
    idx_messages_conversation_timestamp, idx_messages_timestamp, idx_conversations_created_at, idx_users_email,
    idx_documents_uploaded_by, idx_messages_conversation_id, idx_conversations_user_id;
