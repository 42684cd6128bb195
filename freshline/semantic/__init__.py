"""The semantic side: putting the index, its search and its upkeep together."""
