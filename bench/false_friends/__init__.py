"""False friends: pairs of questions that look alike, and which of three rules takes them for the same.

``python -m bench.false_friends`` needs no server. Half of the pairs, by a hash of their text, were looked at while the
guard was written; the other half only reports. ``pairs.tsv`` holds them, ``lexicon`` made the guard's table of words.
"""
