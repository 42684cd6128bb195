DROP INDEX documents_words;
