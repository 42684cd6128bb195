-- Everything that the tables hold is gone after this.

DROP TABLE documents, messages, conversations, users;
DROP TYPE message_role;
