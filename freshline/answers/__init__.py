"""Answers: cached by what a question means, gone when a source of theirs changes."""
