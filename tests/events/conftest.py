"""Fixtures of the event tests."""

from intake_house import house, small_house

__all__ = ["house", "small_house"]
