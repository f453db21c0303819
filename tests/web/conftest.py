"""Fixtures of the web tests."""

from outage import away, directory, relay
from webserver import serve, web

__all__ = ["away", "directory", "relay", "serve", "web"]
