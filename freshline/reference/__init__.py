"""VoiceAssist as a load: what its servers would do to a database and its caches, for trials, tests and measurements.

population  the rows that are known to exist, the popular ones first
values      texts, numbers and nulls of all sorts
changes     one coroutine for each kind of change, its SQL in changes.sql
queries     what is read through the cache besides rows, its SQL in queries.sql
reads       reading through the cache, and after a write of one's own
load        writers and readers side by side, paced, counted and stopped
"""
