"""The whole web: hosts, their pages, and what else their servers answer."""

from html import escape

from pipeline.miniweb import pictures
from pipeline.miniweb.compose import Writing, compose, prose, publish
from pipeline.miniweb.languages import OTHERS
from pipeline.miniweb.markup import FORMS, KINDS, Draft, Heading, Paragraph, Site
from pipeline.miniweb.web import Base, PageTruth, Web, example_base
from pipeline.miniweb.words import ENGLISH, Language, Words, each

TOPICS = each(
    "birds kites quilts tiles stamps flags toys beads maps lamps"
    " boats bells books bricks cards chairs clocks coins"
    " dolls doors drums fans games gates hats jars keys knots lids masks mills nets ovens paints pipes plates pots rings"
    " ropes rugs sails scarves shells shoes signs spoons tents threads towers trains vases wagons walls wheels yarns"
)

PAGES_PER_HOST = 18
LEAST_PAGES = 100


def generate(pages: int = 800, seed: int = 0, base: Base = example_base) -> Web:
    """A web of `pages` pages and a home page for each host, the same for the same arguments.

    base: from the name of a host to what its URLs begin with, e.g. `lambda host: f"http://{address[host]}:8080"`.
    Raises ValueError for fewer than 100 pages: not every case would occur."""
    if pages < LEAST_PAGES:
        raise ValueError(f"{pages} pages are too few: from {LEAST_PAGES} on every case occurs")
    write = Writing(seed, Web(base))
    sites = make_sites(max(8, round(pages / PAGES_PER_HOST)), base)
    share: dict[str, int] = {}
    for number in range(pages):
        site = sites[number % len(sites)]
        index = share[site.host] = share.get(site.host, -1) + 1
        ordinary_page(write, site, index)
    for site in sites:
        furniture(write, site)
    return write.web


def make_sites(count: int, base: Base) -> list[Site]:
    """So many hosts. Every fifth writes in many languages."""
    sites = []
    for index in range(count):
        host = TOPICS[index % len(TOPICS)] + (f"-{index // len(TOPICS) + 1}" if index >= len(TOPICS) else "")
        kind, lazy = KINDS[index % len(KINDS)], FORMS[(index * 3 + index // 8) % len(FORMS)]
        sites.append(Site(host, f"The {host.capitalize()} Society", base(host), kind, lazy, index % 5 == 3))
    return sites


def page_name(site: Site, index: int) -> str:
    """The path of a site's page, in the manner of its kind."""
    return {
        "article": f"2025/11/{index:03d}/story.html",
        "blog": f"blog/post-{index:03d}/",
        "gallery": f"gallery/{index:03d}.html",
        "forum": f"forum/thread-{index:03d}",
        "documentation": f"docs/guide/part-{index:03d}.html",
        "product": f"shop/item-{index:03d}",
    }[site.kind]


def page_language(site: Site, index: int) -> Language:
    """English, or one language after the other."""
    return OTHERS[index % len(OTHERS)] if site.multilingual else ENGLISH


def ordinary_page(write: Writing, site: Site, index: int) -> None:
    """A page that is kept."""
    draft = compose(write, site, page_name(site, index), page_language(site, index))
    relate(write, draft)
    publish(write, draft)


def relate(write: Writing, draft: Draft) -> None:
    """Links to earlier pages of the site, and small pictures of theirs, into the sidebar."""
    host = draft.site.host
    rng = write.rng(host, draft.url, "related")
    earlier = write.pages.get(host, [])
    drawn = write.drawn.get(host, [])
    draft.links = [
        (url, f"Page {url.rsplit('/', 1)[-1] or 'post'}") for url in rng.sample(earlier, min(4, len(earlier)))
    ]
    draft.thumbs = [
        (url, picture) for (url, _), picture in zip(draft.links, rng.sample(drawn, min(2, len(drawn))), strict=False)
    ]


def furniture(write: Writing, site: Site) -> None:
    """What every server has besides its pages: home page, robots.txt, sitemap.xml, style sheet, script, logo."""
    rng = write.rng(site.host, "furniture")
    root = site.root
    written = write.pages.get(site.host, [])
    home = Draft(site, f"{root}/", "en", site.name, [Heading(1, Words(site.name))])
    home.blocks += [Paragraph(prose(write, site, ENGLISH, rng, 4)) for _ in range(3)]
    home.links = [(url, f"Page {number}") for number, url in enumerate(written, 1)]
    publish(write, home, rule="page.no_image", case="home page")

    def other(path: str, body: bytes, media_type: str) -> None:
        date = write.add(f"{root}{path}", body, media_type)
        write.web.truth.append(PageTruth(f"{root}{path}", date, rule="record.media_type"))

    robots = f"User-agent: *\nDisallow: /private/\nCrawl-delay: 0.02\n\nSitemap: {root}/sitemap.xml\n"
    other("/robots.txt", robots.encode(), "text/plain")
    locations = "".join(f"<url><loc>{escape(url)}</loc></url>\n" for url in [home.url, *written])
    sitemap = f'<?xml version="1.0" encoding="UTF-8"?>\n<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{locations}</urlset>\n'
    other("/sitemap.xml", sitemap.encode(), "application/xml")
    other("/static/style.css", b"body { font-family: sans-serif; max-width: 60em }\n", "text/css")
    other("/static/site.js", b"document.documentElement.className = 'js';\n", "application/javascript")
    other("/private/statistics.json", b'{"visits": 7}\n', "application/json")
    write.add(f"{root}/static/logo.png", pictures.badge(rng), "image/png")
    write.add(f"{root}/static/share.png", pictures.icon(rng), "image/png")
