"""The rate of a polite crawl, and of fetching images compared with img2dataset.

python -m tests.bench.crawl hosts     200 loopback hosts that answer in 200 ms, one request per second each
python -m tests.bench.crawl images    one list of image URLs, fetched by img2dataset and by us in turn
"""

import argparse
import collections
import json
import os
import resource
import shutil
import subprocess
import sys
import tempfile
import time
from functools import partial
from itertools import pairwise
from multiprocessing import Process
from pathlib import Path

from tests.bench.results import Figure, record

ROOT = Path(__file__).resolve().parents[2]
PORT = 8741


def page(host: str, number: int, pages: int) -> bytes:
    """A page of 12 kB that links to the others of its host, ten at a time."""
    links = "".join(
        f'<p><a href="/{other}.html">page {other}</a></p>'
        for other in range(number * 10 + 1, number * 10 + 11)
        if other < pages
    )
    return (
        f"<!doctype html><title>{host} {number}</title>{links}" + "<p>Some words of a page that is read.</p>" * 280
    ).encode()


def serve(hosts: list[str], pages: int, log: Path) -> None:
    """Serve until the file `stop` appears beside the log, then write the log."""
    from pipeline.miniweb.serve import Asked, Server
    from pipeline.miniweb.web import Resource

    robots = Resource(404, (("Content-Type", "text/plain"),), b"none", "")

    def answer(asked: Asked) -> Resource:
        name = asked.target.strip("/").partition(".")[0] or "0"
        if not name.isdigit():
            return robots
        return Resource(200, (("Content-Type", "text/html"),), page(asked.host, int(name), pages), "")

    with Server(hosts, PORT, answer, delay=0.2) as server:
        log.with_name("ready").touch()
        while not log.with_name("stop").exists():
            time.sleep(0.1)
        log.write_text(json.dumps([(asked.at, asked.host, asked.target) for asked in server.log]))


def crawl_hosts(count: int, pages: int, folder: Path) -> list[Figure]:
    hosts = [f"127.2.{number // 200}.{number % 200 + 1}" for number in range(count)]
    server = Process(target=serve, args=(hosts, pages, folder / "log.json"))
    server.start()
    while not (folder / "ready").exists():
        time.sleep(0.1)
    seeds = folder / "seeds.txt"
    seeds.write_text("".join(f"http://{host}:{PORT}/\n" for host in hosts))
    begin, cpu = time.monotonic(), os.times()
    command = [sys.executable, "-m", "pipeline.cli", "crawl", str(seeds), "-o", str(folder / "crawl"), "--depth", "20"]
    subprocess.run([*command, "--no-images", "--allow-private", "127.0.0.0/8"], check=True, cwd=ROOT)
    seconds = time.monotonic() - begin
    used = os.times()
    (folder / "stop").touch()
    server.join()
    log = json.loads((folder / "log.json").read_text())
    asked = [entry for entry in log if entry[2].endswith((".html", "/"))]
    times = collections.defaultdict(list)
    for at, host, _ in log:
        times[host].append(at)
    gaps = sorted(later - earlier for stamps in times.values() for earlier, later in pairwise(stamps))
    span = max(at for at, _, _ in log) - min(at for at, _, _ in log)
    print(f"{len(asked)} pages of {count} hosts, {len(log)} requests")
    print(f"whole command {seconds:.1f} s: {len(asked) / seconds:.1f} pages/s")
    print(f"first to last request {span:.1f} s: {len(asked) / span:.1f} pages/s")
    early = sum(gap < 0.99 for gap in gaps)
    print(f"{early} of {len(gaps)} gaps shorter than 0.99 s by the server's clock")
    print(f"shortest gap between two requests to a host {gaps[0]:.3f} s, median {gaps[len(gaps) // 2]:.3f} s")
    processor = used.children_user + used.children_system - cpu.children_user - cpu.children_system
    print(f"CPU of the crawler {processor:.1f} s")
    return [
        Figure("crawl, whole command", round(len(asked) / seconds, 1), "pages/s", ">= 150"),
        Figure("crawl, first to last request", round(len(asked) / span, 1), "pages/s"),
        Figure("shortest gap between requests to a host", round(gaps[0], 3), "s", ">= 1"),
        Figure(f"crawl, CPU time for {len(log):,} requests", round(processor, 1), "s"),
    ]


def picture_server(pictures: list[bytes], ready: Path) -> None:
    from pipeline.miniweb.serve import Asked, Server
    from pipeline.miniweb.web import Resource

    missing = Resource(404, (("Content-Type", "text/plain"),), b"none", "")

    def answer(asked: Asked) -> Resource:
        name = asked.target.strip("/").partition(".")[0]
        number = int(name) if name.isdigit() else -1
        if number < 0 or number % 10 < 3:  # 30 % fail
            return missing
        return Resource(200, (("Content-Type", "image/png"),), pictures[number % len(pictures)], "")

    with Server([f"127.3.0.{number}" for number in range(1, 21)], PORT + 1, answer):
        ready.touch()
        while not ready.with_name("stop").exists():
            time.sleep(0.1)


def fetch_ours(lists: list[list[str]], folder: Path, number: int) -> None:
    from pipeline.fetch import Client, Networks
    from pipeline.fetch.shards import FetchShards

    client = partial(Client, None, Networks.parse(["127.0.0.0/8"]))
    begin = time.monotonic()
    table = FetchShards(folder, number, "run", client, 64_000_000).fetch(lists[number], {})
    counts = collections.Counter(table["status"].to_pylist())
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss >> 10
    print(
        f"  ours, process {number}: {dict(sorted(counts.items()))}, {time.monotonic() - begin:.1f} s, peak {peak} MB",
        flush=True,
    )


def fetch_images(count: int, turns: int, folder: Path) -> list[Figure]:
    os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"
    from pipeline.miniweb import generate
    from pipeline.urls import host_of

    pictures = [
        r.body for _, r in generate(120).captures if r.header("Content-Type") == "image/png" and r.status == 200
    ]
    server = Process(target=picture_server, args=(pictures, folder / "ready"))
    server.start()
    while not (folder / "ready").exists():
        time.sleep(0.1)
    urls = [f"http://127.3.0.{number % 20 + 1}:{PORT + 1}/{number}.png" for number in range(count)]
    (folder / "urls.txt").write_text("".join(f"{url}\n" for url in urls))
    lists = [[url for url in urls if int(host_of(url).rpartition(".")[2]) % 2 == half] for half in range(2)]
    for turn in range(turns):
        begin = time.monotonic()
        target = folder / f"ours{turn}"
        target.mkdir()
        workers = [Process(target=fetch_ours, args=(lists, target, number)) for number in range(2)]
        for worker in workers:
            worker.start()
        for worker in workers:
            worker.join()
            assert worker.exitcode == 0
        ours = time.monotonic() - begin
        begin = time.monotonic()
        program = (
            f"import img2dataset; img2dataset.download(url_list={str(folder / 'urls.txt')!r}, input_format='txt', "
            f"output_folder={str(folder / f'theirs{turn}')!r}, output_format='webdataset', processes_count=2, "
            "thread_count=64, resize_mode='no', enable_wandb=False)"
        )
        subprocess.run(
            [sys.executable, "-c", program], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        theirs = time.monotonic() - begin
        print(f"{count} URLs, 30 % of them missing: ours {ours:.1f} s, {count / ours:.0f}/s")
        print(f"  img2dataset {theirs:.1f} s, {count / theirs:.0f}/s: ratio {theirs / ours:.2f}", flush=True)
    (folder / "stop").touch()
    server.join()
    return [
        Figure("images fetched, 2 processes", round(count / ours), "/s"),
        Figure("images fetched, rate over img2dataset's", round(theirs / ours, 1), "", ">= 1"),
    ]


def main() -> None:
    parser = argparse.ArgumentParser(prog="python -m tests.bench.crawl", description=__doc__.splitlines()[0])
    parser.add_argument("what", choices=("hosts", "images"))
    parser.add_argument("--hosts", type=int, default=200)
    parser.add_argument("--pages", type=int, default=60, help="of a host")
    parser.add_argument("--urls", type=int, default=20_000)
    parser.add_argument("--turns", type=int, default=2)
    parser.add_argument("--record", action="store_true", help="write the figures to results/crawl.json")
    options = parser.parse_args()
    folder = Path(tempfile.mkdtemp(prefix="openm3w-bench-"))
    try:
        if options.what == "hosts":
            found = crawl_hosts(options.hosts, options.pages, folder)
            data = f"{options.hosts} loopback hosts that answer in 200 ms, {options.pages} pages of 12 kB each"
        else:
            found = fetch_images(options.urls, options.turns, folder)
            data = f"{options.urls:,} URLs on 20 loopback hosts, 30 % missing"
        if options.record:
            record("crawl", found, f"python -m tests.bench.crawl {options.what}", data)
    finally:
        shutil.rmtree(folder)


if __name__ == "__main__":
    main()
