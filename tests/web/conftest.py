"""Fixtures of the web tests."""

from webserver import serve, web

__all__ = ["serve", "web"]
