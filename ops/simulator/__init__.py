"""A health system outside ours: its record system, its message providers and its patients, over real sockets.

It is a witness: it imports nothing it judges, keeps its own ledger and knows zones, names and opt-outs by itself.
"""
