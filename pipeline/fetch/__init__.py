"""Fetching one URL from the open web without being led astray: public addresses only, every size and time bounded."""

from pipeline.fetch.address import Networks
from pipeline.fetch.client import Client
from pipeline.fetch.response import DEFAULT_LIMITS, FetchFailed, Limits, Response

__all__ = ["DEFAULT_LIMITS", "Client", "FetchFailed", "Limits", "Networks", "Response"]
