"""The records of a partition in a round: exchanges to the WARC, a row per URL to the log, and what hosts allow."""

import json
import time
from typing import Any

from pipeline.crawl.frontier import IMAGE, PAGE, SITEMAP, Entry
from pipeline.crawl.hosts import Asking, Host
from pipeline.crawl.options import CrawlOptions
from pipeline.crawl.store import CrawlStore, Lines
from pipeline.crawl.warc import WarcWriter, date_of
from pipeline.fetch import FetchFailed, Response
from pipeline.fetch.client import user_agent
from pipeline.fetch.rights import Rights
from pipeline.fetch.robots import LIFETIME
from pipeline.json_files import read_json, write_json
from shards.draws import hash64


def done(counts: dict[str, int], kind: str) -> int:
    """Number of URLs of a kind that were requested or disallowed, from the counts of a `Ledger`."""
    return sum(counts.get(f"{kind}s.{outcome}", 0) for outcome in ("fetched", "failed", "disallowed"))


class Ledger:
    """The files of one partition in one round, opened after the last row written by a killed run.

    `done` are the hashes of the URLs that have a row, `counts` their number by outcome and rule, and their bytes."""

    def __init__(self, store: CrawlStore, options: CrawlOptions, partition: int, round: int, log: Lines) -> None:
        self._log = log
        self._path = store.part(round, partition, "done.json")
        self.done: set[int] = set()
        self.counts: dict[str, int] = {}
        before = read_json(store.part(round - 1, partition, "done.json")) if round else None
        end = tuple(before["warc"]) if before and before["warc"] else None
        for row in log.read():
            self._count(row)
            if row["kind"] in (PAGE, IMAGE, SITEMAP):
                self.done.add(hash64(row["url"]))
            if row.get("warc"):
                number = int(row["warc"].rpartition("-")[2].partition(".")[0])
                end = max(end or (0, 0), (number, row["offset"] + row["length"]))
        about = {
            "software": user_agent(None),
            "format": "WARC File Format 1.1",
            "http-header-user-agent": user_agent(options.contact),
            "operator": options.contact,
            "robots": "classic",
        }
        self._warc = WarcWriter(store.warc, f"{partition:05d}", end, about)
        self._rights = Lines(store.robots(partition))
        self.rights: dict[str, Rights] = {}
        self._rests: dict[str, dict[str, Any]] = {}
        for row in self._rights.read():
            if "host" in row:
                self._rests[row["host"]] = row
            elif time.time() - row["at"] < LIFETIME:
                self.rights[row["origin"]] = Rights(row["texts"])
        self.resumed = bool(self.done) or bool(self.rights and before is None)

    def close(self, resume: float | None) -> None:
        """Mark the round as done for this partition. What it leaves to the next round may be requested from `resume` on
        (seconds since the epoch); None if nothing is left."""
        self._warc.close()
        self._log.close()
        self._rights.close()
        end = [self._warc.number, self._warc.size] if self._warc.size else None
        write_json(self._path, {"warc": end, "counts": self.counts, "resume": resume})

    def store(self, entry: Entry, response: Response) -> dict[str, Any]:
        """Write an exchange to the WARC. Returns its location, for `add`."""
        about = {"fetchTimeMs": round(response.seconds * 1000), "via": entry.via or None, "depth": entry.depth}
        return self._place(response, about)

    def add(self, entry: Entry, outcome: str, rule: str = "", response: Response | None = None, **named: Any) -> None:
        """Write the row of a URL, which makes it count; everything else about it is written before. Empty values are
        left out."""
        row = {
            "url": entry.url,
            "kind": entry.kind,
            "depth": entry.depth,
            "hops": entry.hops,
            "via": entry.via,
            "date": date_of(response.started if response else time.time()),
            "outcome": outcome,
        }
        if response is not None:
            row |= {
                "status": response.status,
                "media_type": response.media_type,
                "bytes": len(response.head) + len(response.raw),
                "seconds": round(response.seconds, 3),
            }
        row |= {name: value for name, value in {"rule": rule, **named}.items() if value not in ("", None, ())}
        self._log.add(row)
        self._count(row)

    def add_asked(self, name: str, url: str, answer: Response | FetchFailed) -> None:
        """Write the row of a request for a file of `Rights`, and its exchange if there was one."""
        row: dict[str, Any] = {"url": url, "kind": name}
        if isinstance(answer, Response):
            place = self._place(answer, {"fetchTimeMs": round(answer.seconds * 1000)})
            row |= {"date": date_of(answer.started), "outcome": "fetched", "status": answer.status, **place}
        else:
            row |= {"date": date_of(time.time()), "outcome": "failed", "rule": answer.reason}
            row |= {"detail": answer.detail[:200]} if answer.detail else {}
        self._log.add(row)

    def remember(self, origin: str, rights: Rights) -> None:
        """Keep what an origin allows for later rounds."""
        self._rights.add({"origin": origin, "at": time.time(), "texts": rights.texts})

    def recall(self, host: Host, now: float) -> None:
        """Take over from earlier rounds and runs how long a host rests, and its failed requests. `now` is on the event
        loop's clock."""
        known = self._rests.get(host.name)
        if known is not None:
            host.rest = max(host.rest, now + known["until"] - time.time())
            host.refusals = known["refusals"]
            for origin, attempts in known["attempts"].items():
                host.origins.setdefault(origin, Asking()).attempts |= attempts

    def keep(self, host: Host, now: float) -> None:
        """Keep the state for `recall` in later rounds and runs, if it has changed."""
        attempts = {origin: asking.attempts for origin, asking in host.origins.items() if any(asking.attempts.values())}
        known = self._rests.get(host.name, {"refusals": 0, "attempts": {}})
        if (host.refusals, attempts) != (known["refusals"], known["attempts"]):
            until = time.time() + max(0.0, host.rest - now)
            row = {"host": host.name, "until": until, "refusals": host.refusals, "attempts": attempts}
            self._rights.add(row)
            self._rests[host.name] = json.loads(json.dumps(row))

    def _place(self, response: Response, about: dict[str, Any]) -> dict[str, Any]:
        file, offset, length = self._warc.add(response, response.started, about)
        return {"warc": file, "offset": offset, "length": length}

    def _count(self, row: dict[str, Any]) -> None:
        if row["kind"] not in (PAGE, IMAGE, SITEMAP):
            return
        names = [row["outcome"], f"{row['kind']}s.{row['outcome']}"]
        if row.get("rule"):
            names.append(f"{row['outcome']}: {row['rule']}" + (f" {row['status']}" if row["rule"] == "http" else ""))
        for name in names:
            self.counts[name] = self.counts.get(name, 0) + 1
        self.counts["bytes"] = self.counts.get("bytes", 0) + row.get("bytes", 0)
