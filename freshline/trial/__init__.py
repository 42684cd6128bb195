"""A trial: the whole way from a change to every copy, on this machine, watched, and verified at its end.

stack ▸ database, topics, connector ▸ workers ▸ load, watched ▸ quiet ▸ verification ▸ all stopped again

workers     `freshline run`, as a process of its own
freshness   from a commit to its row in Redis, as anyone can see it
watch       figures of the running trial
trial       the order of it all
"""
