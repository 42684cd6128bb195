"""Is every copy what the database says? Compares them all: entries and cached queries in Redis, memories of processes.

quiet   wait until everything committed was applied
rows    what the database says of rows, in the canonical form
copies  what Redis holds, and what of it readers would be served
verify  compares, looks again where they differ, and reports
"""
