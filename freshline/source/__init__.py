"""Making a database's changes arrive: the database, the topics and the connector, prepared and taken back."""
