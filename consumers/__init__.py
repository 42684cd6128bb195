"""Workers: one loop over a group's partitions, and one small sink for each purpose.

fetch ▸ read (decode, by the sink) ▸ sight (are the changes visible?) ▸ letters (what can't be used) ▸ apply ▸ commit
"""
