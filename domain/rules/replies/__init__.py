"""Replies: what a patient's message means, by reviewed rules in data files that a non-programmer can read."""
