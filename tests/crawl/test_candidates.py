"""Of the URLs a page offers for one image, a crawl requests the next if the one before cannot be used."""

from pathlib import Path

from pipeline.miniweb.web import Resource
from tests.crawl.faulty import Web, answer_with, page, run
from tests.ports import PORT
from tests.stages.test_folders import picture

JXL = b"\0\0\0\x0cJXL \r\n\x87\n" + bytes(2000)


def image(body: bytes, *headers: tuple[str, str]) -> Resource:
    return Resource(200, (("Content-Type", "image/png"), *headers), body, "")


def offers(*urls: str) -> str:
    first, *others = urls
    sources = "".join(f"<source srcset='{url}'>" for url in others)
    return f"<picture><source srcset='{first}'>{sources}<img src='{urls[-1]}'></picture>"


def test_the_next_candidate_is_requested_if_the_first_cannot_be_used(tmp_path: Path) -> None:
    down = f"http://127.4.0.9:{PORT}/down.png"
    body = "".join(
        offers(first, f"{first.rpartition('/')[2].partition('.')[0]}2.png")
        for first in ("gone.png", "new.jxl", "error.png", "cut.png", "shut/a.png", down, "moved.png", "good.png")
    )
    chain = offers("zero.png", "one.png", "two.png", "three.png", "four.png")
    refused = offers("noai.png", "noai2.png")
    named = ("gone", "new", "error", "cut", "a", "down", "moved", "good", "noai")
    good = {f"/{name}2.png": image(picture(1)) for name in named}
    web = Web(
        h1={
            "/robots.txt": Resource(200, (), b"User-agent: *\nDisallow: /shut/\n", ""),
            "/": page("/p", body=body),
            "/p": page(body=chain + refused),
            "/new.jxl": image(JXL),
            "/error.png": page(),
            "/cut.png": image(picture(1)[:-200]),
            "/shut/a.png": image(picture(1)),
            "/moved.png": answer_with(302, ("Location", "/moved.jxl")),
            "/moved.jxl": image(JXL),
            "/good.png": image(picture(2)),
            "/noai.png": image(picture(3), ("X-Robots-Tag", "noai")),
            "/two.png": image(JXL),
            "/three.png": image(picture(4)),
            "/four.png": image(picture(5)),
            **good,
        }
    )
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    pictures = {name.removeprefix("1/"): said for name, said in found.items() if name.rpartition(".")[2] in "png jxl"}
    assert pictures == {
        **dict.fromkeys((f"{name}2.png" for name in named[:-2]), "fetched"),
        "gone.png": "failed http",
        "new.jxl": "fetched",
        "error.png": "fetched",
        "cut.png": "fetched",
        "shut/a.png": "disallowed robots.disallow",
        "9/down.png": "disallowed robots.unreachable",
        "moved.png": "fetched",
        "moved.jxl": "fetched",
        "good.png": "fetched",
        "noai.png": "disallowed consent.noai",
        "zero.png": "failed http",
        "one.png": "failed http",
        "two.png": "fetched",
        "three.png": "fetched",
    }


def test_a_page_of_a_later_round_offers_the_candidate_of_an_image_that_could_not_be_used(tmp_path: Path) -> None:
    other = f"http://127.4.0.2:{PORT}/b.png"
    web = Web(
        h1={
            "/": page("/p1", body="<img src='/a.png'><img src='/gone.png'><img src='/good.png'><img src='/noai.png'>"),
            "/p1": page("/p2"),
            "/p2": page(
                body=offers("/a.png", other, "/c.png")
                + offers("/gone.png", "/gone2.png")
                + offers("/good.png", "/good2.png")
                + offers("/noai.png", "/noai2.png")
            ),
            "/a.png": image(JXL),
            "/c.png": image(picture(1)),
            "/gone2.png": image(picture(2)),
            "/good.png": image(picture(3)),
            "/noai.png": image(picture(4), ("X-Robots-Tag", "noai")),
        },
        h2={"/b.png": image(JXL)},
    )
    _, found, _ = run(web, tmp_path, f"1:{PORT}/")
    assert {name: said for name, said in found.items() if name.endswith(".png")} == {
        "1/a.png": "fetched",
        "2/b.png": "fetched",
        "1/c.png": "fetched",
        "1/gone.png": "failed http",
        "1/gone2.png": "fetched",
        "1/good.png": "fetched",
        "1/noai.png": "disallowed consent.noai",
    }
