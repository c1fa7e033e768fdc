"""A free TCP port of loopback addresses."""

import socket


def reserve(address: str = "127.255.0.1") -> int:
    """A port that no other test process gets while this one lives. Servers of this process may listen on it at every
    loopback address but `address`, at which a socket stays bound."""
    holder = socket.socket()
    holder.bind((address, 0))
    port = holder.getsockname()[1]
    holder.detach()  # open until the process ends
    return port


PORT = reserve()
"""Of URLs that are written before their servers start. Each process of pytest-xdist has its own."""
