"""Write a generated web to disk: as a WARC file, or as a folder of HTML pages with their images."""

import json
import random
from collections.abc import Iterator
from dataclasses import asdict, replace
from http import HTTPStatus
from pathlib import Path
from urllib.parse import urlsplit

from PIL import Image

from pipeline.crawl.warc import compressed, record, sha1
from pipeline.miniweb.cards import combination, draw_card
from pipeline.miniweb.pictures import COLOURS, GROUND_RGB, draw, draw_picture, encode
from pipeline.miniweb.web import PageTruth, Resource, Web

IDENTICAL_PAYLOAD = "http://netpreserve.org/warc/1.1/revisit/identical-payload-digest"
CHUNK = 1000


def write_warc(web: Web, path: Path, gzip: bool = True) -> None:
    """Write the captures as WARC/1.1 (ISO 28500:2017): warcinfo, then response and request for each; an image whose
    bytes came before is a revisit record. `gzip` compresses each record. Deterministic."""
    with path.open("wb") as file:
        for record in warc_records(web):
            file.write(compressed(record) if gzip else record)


def warc_records(web: Web) -> Iterator[bytes]:
    """Every record of the WARC file, uncompressed."""
    about = b"software: openm3w miniweb\r\nformat: WARC File Format 1.1\r\n"
    yield record("warcinfo", {"WARC-Date": web.captures[0][1].date, "Content-Type": "application/warc-fields"}, about)[
        1
    ]
    written: dict[str, tuple[str, str]] = {}
    for url, resource in web.captures:
        payload = chunked(resource.body) if resource.header("Transfer-Encoding") == "chunked" else resource.body
        digest = sha1(payload)
        headers = {
            "WARC-Target-URI": url,
            "WARC-Date": resource.date,
            "WARC-IP-Address": "192.0.2.1",
            "WARC-Payload-Digest": digest,
            "Content-Type": "application/http; msgtype=response",
        }
        head = http_head(resource)
        is_picture = resource.status == 200 and resource.header("Content-Type").startswith("image/")
        if is_picture and digest in written:
            headers["WARC-Profile"] = IDENTICAL_PAYLOAD
            headers["WARC-Refers-To-Target-URI"], headers["WARC-Refers-To-Date"] = written[digest]
            concurrent, response = record("revisit", headers, head)
        else:
            if is_picture:
                written[digest] = (url, resource.date)
            concurrent, response = record("response", headers, head + payload)
        yield response
        request = f"GET {target(url)} HTTP/1.1\r\nHost: {urlsplit(url).netloc}\r\nUser-Agent: openm3w-miniweb\r\n\r\n"
        yield record(
            "request",
            {
                "WARC-Target-URI": url,
                "WARC-Date": resource.date,
                "WARC-Concurrent-To": concurrent,
                "Content-Type": "application/http; msgtype=request",
            },
            request.encode(),
        )[1]


def http_head(resource: Resource) -> bytes:
    """Status line and headers as a server sends them."""
    lines = [f"HTTP/1.1 {resource.status} {HTTPStatus(resource.status).phrase}"]
    lines += [f"{name}: {value}" for name, value in resource.headers]
    if not resource.header("Transfer-Encoding"):
        lines.append(f"Content-Length: {len(resource.body)}")
    return ("\r\n".join(lines) + "\r\n\r\n").encode("latin-1")


def chunked(body: bytes) -> bytes:
    """The body in chunks (RFC 9112, section 7.1)."""
    parts = [body[start : start + CHUNK] for start in range(0, len(body), CHUNK)]
    return b"".join(b"%x\r\n%b\r\n" % (len(part), part) for part in parts) + b"0\r\n\r\n"


def target(url: str) -> str:
    """Path and query, as in a request line."""
    split = urlsplit(url)
    return (split.path or "/") + (f"?{split.query}" if split.query else "")


def write_truth(truth: list[PageTruth], path: Path) -> None:
    """The truth as JSON lines, one `PageTruth` a line."""
    with path.open("w", encoding="utf-8", newline="\n") as file:
        for page in truth:
            file.write(json.dumps(asdict(page), ensure_ascii=False, sort_keys=True) + "\n")


def folder_base(host: str) -> str:
    """Base of the hosts of a web written to a folder: one directory per host."""
    return f"https://miniweb.example/{host}"


def write_folder(web: Web, folder: Path) -> list[PageTruth]:
    """Write pages and images as files, HOST/PATH, with truth.jsonl beside them; returns the truth about what was
    written.

    A folder has no statuses, headers, queries, redirects or older captures: pages that need one of them are left out.
    The web must have been generated with `folder_base`, and the folder must be read with the base URL
    https://miniweb.example/, so that file URLs match the references on the pages. Raises ValueError for another
    base."""
    resources = web.resources
    if any(not url.startswith(folder_base("")) for url in resources):
        raise ValueError("only a web generated with base=folder_base can be read from a folder")
    kept = [page for page in web.truth if page_fits(page, resources)]
    urls = {page.url for page in kept}
    kept = [page for page in kept if page.twin is None or page.twin in urls]
    for url, resource in resources.items():
        is_picture = resource.status == 200 and resource.header("Content-Type").startswith("image/")
        if (url in urls or is_picture) and not urlsplit(url).query:
            file = folder / file_url(url).removeprefix(folder_base(""))
            file.parent.mkdir(parents=True, exist_ok=True)
            file.write_bytes(resource.body)
    truth = [replace(page, url=file_url(page.url), twin=file_url(page.twin) if page.twin else None) for page in kept]
    write_truth(truth, folder / "truth.jsonl")
    return truth


def page_fits(page: PageTruth, resources: dict[str, Resource]) -> bool:
    """Whether a folder can hold this page and its images."""
    resource = resources[page.url]
    if resource.status != 200 or resource.date != page.date or resource.headers != (("Content-Type", "text/html"),):
        return False
    pictures = [url for kind, url in page.extracted if kind == "image"]
    pictures += [url for others in page.alternatives.values() for url in others]
    answers = [resources[url].status for url in pictures if url in resources]
    return all(status in (200, 404) for status in answers) and not any(
        urlsplit(url).query for url in [page.url, *pictures]
    )


def file_url(url: str) -> str:
    """The URL of the file that holds a page."""
    return url + "index.html" if url.endswith("/") else url


def write_task(output: Path, pictures: int, seed: int) -> None:
    """Write drawings as a few-shot task, COLOUR/NUMBER.jpg, equally many per colour; the other attributes vary. None of
    them occurs in the web with this seed."""
    for number in range(pictures):
        colour = number % len(COLOURS)
        rng = random.Random(f"{seed}/task/{number}")
        drawing = replace(draw_picture(rng, 224, 224), colour=colour)
        folder = output / COLOURS[colour]
        folder.mkdir(parents=True, exist_ok=True)
        (folder / f"{number:04d}.jpg").write_bytes(encode(drawing, rng, "jpeg"))


def write_questions(output: Path, questions: int, seed: int) -> None:
    """Write questions about two drawings: which of them shows three shapes, or the larger shape. The two agree in
    colour, shape and ground. questions.jsonl has a line for each, as `m3w evaluate` reads it."""
    output.mkdir(parents=True, exist_ok=True)
    lines = []
    for number in range(questions):
        rng = random.Random(f"{seed}/questions/{number}")
        right = rng.randrange(2)
        kind = ("three", "larger")[number % 2]
        drawing = draw_picture(rng, 224, 224)
        if kind == "three":
            wanted = draw(replace(drawing, count=2), rng)
            other = draw(replace(drawing, count=rng.choice([0, 1, 3])), rng)
            text = "Which of the two shows three?"
        else:
            wanted = draw(replace(drawing, count=0), rng)
            other = Image.new("RGB", wanted.size, GROUND_RGB[drawing.ground])
            other.paste(draw(replace(drawing, count=0), rng).reduce(2), (rng.randrange(112), rng.randrange(112)))
            text = "Which of the two shows the larger shape?"
        names = [f"{number:04d}-{place}.png" for place in range(2)]
        for place, name in enumerate(names):
            (wanted if place == right else other).save(output / name)
        lines.append(json.dumps({"kind": kind, "images": names, "question": text, "right": right}))
    (output / "questions.jsonl").write_text("".join(f"{line}\n" for line in lines), encoding="utf-8")


CARDS_PER_CLASS = 20


def write_cards(output: Path, pictures: int, seed: int) -> None:
    """Write cards as few-shot tasks, unseen/COMBINATION/NUMBER.jpg with combinations that no page of cards shows, and
    as many in seen/ with those of the pages. No drawing occurs in a web."""
    for name, unseen in (("unseen", True), ("seen", False)):
        rng = random.Random(f"{seed}/cards/{name}")
        classes: set[str] = set()
        while len(classes) < max(2, pictures // 2 // CARDS_PER_CLASS):
            picture = draw_card(rng, unseen)
            folder = output / name / combination(picture)
            if folder.name in classes:
                continue
            classes.add(folder.name)
            folder.mkdir(parents=True, exist_ok=True)
            for number in range(CARDS_PER_CLASS):
                (folder / f"{number:02d}.jpg").write_bytes(encode(picture, rng, "jpeg"))
