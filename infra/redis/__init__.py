"""Redis: the scripts of the coherence protocol, and the one class that calls them."""
