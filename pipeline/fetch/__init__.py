"""Fetch URLs from the open web safely: public addresses only, with bounds on every size and time."""

from pipeline.fetch.address import Networks
from pipeline.fetch.client import Client
from pipeline.fetch.response import DEFAULT_LIMITS, FetchFailed, Limits, Response

__all__ = ["DEFAULT_LIMITS", "Client", "FetchFailed", "Limits", "Networks", "Response"]
