"""Generate the whole web: hosts, their pages, and everything else their servers answer."""

from html import escape

from pipeline.miniweb import pictures
from pipeline.miniweb.bad_images import FAULTS, WITH_BAD_IMAGES, figure, insert
from pipeline.miniweb.cards import cards_page, names_page
from pipeline.miniweb.clips import clips_page
from pipeline.miniweb.compose import Writing, compose, prose, publish, stem_of, write_other
from pipeline.miniweb.dropped import DROPPED, hostile_pages
from pipeline.miniweb.languages import OTHERS
from pipeline.miniweb.markup import FORMS, KINDS, Draft, Heading, Paragraph, Site
from pipeline.miniweb.odd import KEPT, Case
from pipeline.miniweb.web import Base, Web, example_base
from pipeline.miniweb.words import ENGLISH, Grammar, Prose, each

TOPICS = each(
    "birds kites quilts tiles stamps flags toys beads maps lamps boats bells books bricks cards chairs clocks"
    " coins dolls doors drums fans games gates hats jars keys knots lids masks mills nets ovens paints pipes"
    " plates pots rings ropes rugs sails scarves shells shoes signs spoons tents threads towers trains vases"
    " wagons walls wheels yarns"
)

PAGES_PER_HOST = 4
CARDS_PER_HOST = 20
LEAST_PAGES = 120


# Minimum occurrences of each odd or dropped case; all other pages are ordinary.
CASES: tuple[Case, ...] = (*KEPT, *WITH_BAD_IMAGES, *DROPPED)
SHARE_OF_CASES = 0.2
# Shares of ordinary pages: with an image in the main content that is on too many pages, and with another bad image.
SHARE_WITH_BADGE = 0.04
LEAST_WITH_BADGE = 24
SHARE_WITH_FAULT = 0.15


def generate(
    pages: int = 800,
    seed: int = 0,
    base: Base = example_base,
    *,
    hostile: bool = False,
    names: int = 0,
    cards: int = 0,
    clips: int = 0,
) -> Web:
    """Generate a web of about `pages` pages, not counting copies and home pages; deterministic.

    base: maps a host name to the start of its URLs, e.g. `lambda host: f"http://{address[host]}:8080"`. hostile: add
    two pages, of 2 MB and with 100,000 nested elements, to be used with limits on both. names, cards: add this many
    pages for in-context learning (`pipeline.miniweb.cards`), clips: pages of videos (`pipeline.miniweb.clips`); with 0
    `pages` there are only these. Raises ValueError for
    fewer than 120 pages: not every case would occur."""
    write = Writing(seed, Web(base))
    for kind, count, page in (
        ("names", names, names_page),
        ("cards", cards, cards_page),
        ("clips", clips, clips_page),
    ):
        for number in range(count):
            host = f"{kind}-{number // CARDS_PER_HOST + 1}"
            site = Site(host, f"{host} Society".capitalize(), base(host), "blog", "plain", (ENGLISH,))
            page(write, site, f"{number % CARDS_PER_HOST:03d}.html")
    if not pages and names + cards + clips:
        return write.web
    if pages < LEAST_PAGES:
        raise ValueError(f"{pages} pages are too few: all cases need at least {LEAST_PAGES}")
    sites = make_sites(max(8, round(pages / PAGES_PER_HOST)), base)
    special = max(len(CASES), round(pages * SHARE_OF_CASES))
    plan: list[Case] = [CASES[number % len(CASES)] for number in range(special)]
    plan += [ordinary_page] * (pages - special)
    badge = f"{base('pictures')}/ring/member.png"
    write.add(badge, pictures.badge(write.rng("badge")), "image/png")
    badges = max(LEAST_WITH_BADGE, round(pages * SHARE_WITH_BADGE))
    write.rng("plan").shuffle(plan)
    written: dict[str, int] = {}
    for number, case in enumerate(plan):
        site = sites[number % len(sites)]
        index = written[site.host] = written.get(site.host, -1) + 1
        name, language = page_name(site, index), page_language(site, index)
        if case is ordinary_page and badges > 0:
            case, badges = with_badge(badge), badges - 1
        case(write, site, name, language)
    if hostile:
        hostile_pages(write, sites[0])
    for site in sites:
        furniture(write, site)
    return write.web


def ordinary_page(write: Writing, site: Site, name: str, language: Grammar) -> None:
    """A kept page; some have a bad image."""
    draft = compose(write, site, name, language)
    relate(write, draft)
    rng = write.rng(draft.url, "fault")
    if rng.random() < SHARE_WITH_FAULT:
        fault = FAULTS[rng.choice(sorted(FAULTS))]
        insert(draft, fault(write, site, stem_of(draft.url)), rng.randrange(100))
    publish(write, draft)


def with_badge(url: str) -> Case:
    """A kept page with an image that is on too many pages."""

    def page(write: Writing, site: Site, name: str, language: Grammar) -> None:
        draft = compose(write, site, name, language)
        relate(write, draft)
        # A folder omits pages whose charset is only in a header; enough of these must remain.
        draft.declared = "meta"
        insert(draft, figure(url, "image.too_common"), write.rng(draft.url, "badge").randrange(100))
        publish(write, draft, case="picture that stands on too many pages")

    return page


def make_sites(count: int, base: Base) -> list[Site]:
    """Make `count` sites. Every fifth is multilingual, each starting with a different language."""
    sites = []
    for index in range(count):
        host = TOPICS[index % len(TOPICS)] + (f"-{index // len(TOPICS) + 1}" if index >= len(TOPICS) else "")
        kind, lazy = KINDS[index % len(KINDS)], FORMS[(index * 3 + index // 8) % len(FORMS)]
        first = index // 5 % len(OTHERS)
        languages = (*OTHERS[first:], *OTHERS[:first]) if index % 5 == 3 else (ENGLISH,)
        sites.append(Site(host, f"The {host.capitalize()} Society", base(host), kind, lazy, languages))
    return sites


def page_name(site: Site, index: int) -> str:
    """The path of a page in the style of its site."""
    return {
        "article": f"2025/11/{index:03d}/story.html",
        "blog": f"blog/post-{index:03d}/",
        "gallery": f"gallery/{index:03d}.html",
        "forum": f"forum/thread-{index:03d}",
        "documentation": f"docs/guide/part-{index:03d}.html",
        "product": f"shop/item-{index:03d}",
    }[site.kind]


def page_language(site: Site, index: int) -> Grammar:
    """Cycle through the site's languages."""
    return site.languages[index % len(site.languages)]


def relate(write: Writing, draft: Draft) -> None:
    """Add links to earlier pages of the site, with thumbnails, to the sidebar."""
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
    home = Draft(site, f"{root}/", "en", site.name, [Heading(1, Prose(site.name))])
    home.blocks += [Paragraph(prose(write, site, ENGLISH, rng, 4)) for _ in range(3)]
    home.links = [(url, f"Page {number}") for number, url in enumerate(written, 1)]
    publish(write, home, rule="page.no_image", case="home page")

    def other(path: str, body: str, media_type: str) -> None:
        write_other(write, root + path, "record.media_type", body=body.encode(), media_type=media_type)

    robots = f"User-agent: *\nDisallow: /private/\nCrawl-delay: 0.02\n\nSitemap: {root}/sitemap.xml\n"
    other("/robots.txt", robots, "text/plain")
    locations = "".join(f"<url><loc>{escape(url)}</loc></url>\n" for url in [home.url, *written])
    urlset = f'<urlset xmlns="http://www.sitemaps.org/schemas/sitemap/0.9">\n{locations}</urlset>\n'
    other("/sitemap.xml", f'<?xml version="1.0" encoding="UTF-8"?>\n{urlset}', "application/xml")
    other("/static/style.css", "body { font-family: sans-serif; max-width: 60em }\n", "text/css")
    other("/static/site.js", "document.documentElement.className = 'js';\n", "application/javascript")
    other("/private/statistics.json", '{"visits": 7}\n', "application/json")
    write.add(f"{root}/static/logo.png", pictures.badge(rng), "image/png")
    write.add(f"{root}/static/share.png", pictures.icon(rng), "image/png")
