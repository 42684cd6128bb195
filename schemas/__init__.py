"""What travels and what is cached: events, rows, entries, and the catalog that names them. Pure: no I/O."""
