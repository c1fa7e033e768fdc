"""A program for a network namespace of its own, where public addresses and the DNS are ours.

python -m tests.crawl.own_network FOLDER: serves three names and one that rebinds on addresses that anywhere else are
other people's, crawls them as the open web (no private network is named), and prints what came of it as JSON."""

import asyncio
import fcntl
import json
import socket
import struct
import sys
import threading
from pathlib import Path

from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.rounds import crawl
from pipeline.crawl.store import CrawlStore
from pipeline.fetch import Client, FetchFailed, Limits
from pipeline.miniweb.serve import Asked, Server
from pipeline.miniweb.web import Resource

NAMES = {"www.one.test": "8.8.8.8", "other.one.test": "8.8.4.4", "two.test": "1.1.1.1"}
REBINDS = "rebind.one.test"
"""Its first answer is a public address, every later one is 127.0.0.1."""
SIOCSIFADDR, SIOCSIFFLAGS, UP_AND_RUNNING = 0x8916, 0x8914, 0x41


def own(address: str, alias: int) -> None:
    """Give an address to the loopback device, and switch it on."""
    name = b"lo" if address.startswith("127.") else b"lo:%d" % alias
    with socket.socket(socket.AF_INET, socket.SOCK_DGRAM) as control:
        fcntl.ioctl(control, SIOCSIFADDR, struct.pack("16sHH4s8x", name, socket.AF_INET, 0, socket.inet_aton(address)))
        fcntl.ioctl(control, SIOCSIFFLAGS, struct.pack("16sH14x", name, UP_AND_RUNNING))


class Dns:
    """Answers for `NAMES` and `REBINDS` on port 53. `asked` counts the queries for REBINDS' address."""

    def __init__(self) -> None:
        self.asked = 0
        self._socket = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
        self._socket.bind(("127.0.0.1", 53))
        threading.Thread(target=self._serve, daemon=True).start()

    def _serve(self) -> None:
        while True:
            query, client = self._socket.recvfrom(512)
            end = query.index(0, 12)
            labels, at = [], 12
            while at < end:
                labels.append(query[at + 1 : at + 1 + query[at]].decode())
                at += 1 + query[at]
            address = self._address(".".join(labels)) if query[end + 1 : end + 3] == b"\0\1" else None
            question = query[12 : end + 5]
            head = query[:2] + struct.pack(">HHHHH", 0x8580, 1, address is not None, 0, 0)
            answer = b"\xc0\x0c" + struct.pack(">HHIH", 1, 1, 0, 4) + socket.inet_aton(address) if address else b""
            self._socket.sendto(head + question + answer, client)

    def _address(self, name: str) -> str | None:
        if name != REBINDS:
            return NAMES.get(name)
        self.asked += 1
        return "8.8.8.8" if self.asked == 1 else "127.0.0.1"


def answer(asked: Asked) -> Resource:
    host = asked.headers["host"]
    if asked.host == "127.0.0.1":
        return Resource(200, (("Content-Type", "text/html"),), b"secret", "")
    if asked.target == "/" and host == "www.one.test":
        links = ("http://other.one.test/", "http://two.test/", f"http://{REBINDS}/", "http://127.0.0.1/", "/inner")
        html = "".join(f'<a href="{link}">x</a>' for link in links)
        return Resource(200, (("Content-Type", "text/html"),), html.encode(), "")
    if asked.target in ("/", "/inner"):
        return Resource(200, (("Content-Type", "text/html"),), b"<p>public", "")
    return Resource(404, (), b"", "")


async def rebinding() -> list[str]:
    """What three fetches of the name that rebinds come to, its address looked up for each."""
    found = []
    async with Client("test@one.test", limits=Limits(connect_seconds=2, total_seconds=5)) as client:
        for _ in range(3):
            try:
                found.append((await client.exchange(f"http://{REBINDS}/")).body.decode())
            except FetchFailed as error:
                found.append(error.reason)
            client.close()
            client._names.clear()
    return found


def main(folder: Path) -> None:
    for alias, address in enumerate(["127.0.0.1", *NAMES.values()]):
        own(address, alias)
    dns = Dns()
    with Server(["127.0.0.1", *NAMES.values()], 80, answer) as server:
        found: dict[str, object] = {"rebinding": asyncio.run(rebinding()), "asked": dns.asked}
        for scope in ("host", "domain", "any"):
            options = CrawlOptions(scope=scope, delay=0.01, contact="test@one.test", limits=Limits(total_seconds=5))
            with (folder / "progress").open("w") as stream:
                crawl(["http://www.one.test/"], folder / scope, options, ["--direct_num_workers=1"], stream)
            found[scope] = {
                row["url"]: f"{row['outcome']} {row.get('rule', '')}".strip()
                for row in CrawlStore(folder / scope).rows()
                if row["kind"] == "page"
            }
        found["secret"] = [asked.target for asked in server.log if asked.host == "127.0.0.1"]
        found["agents"] = sorted({asked.headers["user-agent"] for asked in server.log})
    print(json.dumps(found))


if __name__ == "__main__":
    main(Path(sys.argv[1]))
