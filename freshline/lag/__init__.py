"""How far consumers are behind, and how many of them are needed."""
