"""HTML around the truth: page templates with boilerplate, and the ways pages embed an image."""

from dataclasses import dataclass, field
from html import escape
from urllib.parse import urlsplit

from pipeline.miniweb.words import Grammar, Prose

PLACEHOLDER = "data:image/gif;base64,R0lGODlhAQABAIAAAAAAAP///yH5BAEAAAAALAAAAAABAAEAAAIBRAA7"


@dataclass(frozen=True, slots=True)
class Heading:
    """A heading of level 1 to 6."""

    level: int
    words: Prose


@dataclass(frozen=True, slots=True)
class Paragraph:
    """A paragraph. `picture` is the number of the figure on the page whose attributes the words name."""

    words: Prose
    picture: int | None = None


@dataclass(frozen=True, slots=True)
class Figure:
    """An image as a page shows it, with an optional caption in the same figure element.

    `url` is its URL in the truth, `rule` the id of the rule that drops it."""

    html: str
    url: str
    alternatives: tuple[str, ...] = ()
    rule: str | None = None
    caption: Prose | None = None
    picture: int | None = None


Block = Heading | Paragraph | Figure


@dataclass(frozen=True, slots=True)
class Site:
    """A host and its style: the `kind` of its pages, `lazy` for how images are embedded, the `languages` of its
    pages."""

    host: str
    name: str
    root: str
    kind: str
    lazy: str
    languages: tuple[Grammar, ...]


@dataclass(slots=True)
class Draft:
    """A page before it is rendered. For the sidebar: `links` are (URL, text), `thumbs` (URL of a page, URL of an
    image)."""

    site: Site
    url: str
    language: str
    title: str
    blocks: list[Block]
    encoding: str = "utf-8"
    declared: str = "meta"
    links: list[tuple[str, str]] = field(default_factory=list)
    thumbs: list[tuple[str, str]] = field(default_factory=list)
    head: str = ""
    base: str = ""
    after: str = ""
    headers: tuple[tuple[str, str], ...] = ()
    content_type: str = ""

    @property
    def base_url(self) -> str:
        """Base of relative references: the page's URL or its base element."""
        return self.base or self.url


def reference(form: str, url: str, page: str) -> str:
    """The image's URL as written on the page: absolute, scheme-relative, root-relative or relative to the page."""
    split = urlsplit(url)
    if form == "absolute" or urlsplit(page).netloc != split.netloc:
        return url
    if form == "scheme":
        return f"//{split.netloc}{path_of(url)}"
    if form == "relative":
        depth = urlsplit(page).path.count("/") - 1
        return "../" * depth + path_of(url).lstrip("/")
    return path_of(url)


def path_of(url: str) -> str:
    """Path and query."""
    split = urlsplit(url)
    return split.path + (f"?{split.query}" if split.query else "")


def attributes(**pairs: str) -> str:
    """Attributes of a start tag, escaped; a leading underscore is dropped and others become hyphens."""
    return "".join(f' {name.lstrip("_").replace("_", "-")}="{escape(value)}"' for name, value in pairs.items())


def image_tag(form: str, refs: dict[str, str], alt: str, width: int, height: int) -> str:
    """Markup for one image. `refs` holds the references: `main`, and if the form needs them `small` (half the size),
    `webp` and `full`. The forms are those of `FORMS`."""
    main = refs["main"]
    size = {"width": str(width), "height": str(height)}
    if form == "plain":
        return f"<img{attributes(src=main, alt=alt, **size)}>"
    if form == "native":
        return f"<img{attributes(loading='lazy', decoding='async', src=main, alt=alt, **size)}>"
    if form == "data-src":
        return f"<img{attributes(_class='lazyload', src=PLACEHOLDER, data_src=main, alt=alt)}>"
    if form == "noscript":
        lazy = f"<img{attributes(_class='lazy', src=PLACEHOLDER, data_lazy_src=main, alt=alt, **size)}>"
        return f"{lazy}<noscript><img{attributes(src=main, alt=alt, **size)}></noscript>"
    if form == "srcset":
        srcset = f"{refs['small']} {width // 2}w, {main} {width}w"
        return f"<img{attributes(src=refs['small'], srcset=srcset, sizes='(min-width: 40em) 50vw, 100vw', alt=alt)}>"
    if form == "data-srcset":
        srcset = f"{refs['small']} 1x, {main} 2x"
        return f"<img{attributes(_class='lazyload', src=PLACEHOLDER, data_srcset=srcset, data_sizes='auto', alt=alt)}>"
    if form == "picture":
        source = f"<source{attributes(type='image/webp', srcset=refs['webp'])}>"
        return f"<picture>{source}<img{attributes(src=main, alt=alt, **size)}></picture>"
    if form == "link":
        return f"<a{attributes(href=refs['full'])}><img{attributes(src=main, alt=alt)}></a>"
    raise ValueError(f"unknown form of image markup: {form!r}")


FORMS = ("plain", "native", "data-src", "noscript", "srcset", "data-srcset", "picture", "link")


# Wrappers of the main content, by kind of page.
MAIN = {
    "article": ('<main><article class="article-body">', "</article></main>"),
    "blog": ('<div id="content"><div class="post hentry"><div class="entry-content">', "</div></div></div>"),
    "gallery": ('<main id="main"><section class="gallery-grid">', "</section></main>"),
    "forum": ('<main><div class="thread">', "</div></main>"),
    "documentation": ('<div role="main" class="document"><div class="section">', "</div></div>"),
    "product": ('<main><div class="product" itemscope itemtype="https://schema.org/Product">', "</div></main>"),
}
KINDS = tuple(MAIN)


def main_html(kind: str, blocks: list[Block]) -> str:
    """The main content of a page of this kind. A forum post begins with a level 3 heading, its author."""
    before, after = MAIN[kind]
    html, in_post = f"{before}\n", False
    for block in blocks:
        if kind == "forum" and isinstance(block, Heading) and block.level == 3:
            html += ("</div>\n" if in_post else "") + '<div class="post-body">\n'
            in_post = True
        html += block_html(kind, block)
    return html + ("</div>\n" if in_post else "") + after


def block_html(kind: str, block: Block) -> str:
    """One block of the main content."""
    if isinstance(block, Heading):
        return f"<h{block.level}>{escape(block.words.text, quote=False)}</h{block.level}>\n"
    if isinstance(block, Paragraph):
        return f"<p>{escape(block.words.text, quote=False)}</p>\n"
    if block.caption is not None:
        caption = escape(block.caption.text, quote=False)
        return f"<figure>{block.html}<figcaption>{caption}</figcaption></figure>\n"
    if kind in ("gallery", "product"):
        return f'<div class="item">{block.html}</div>\n'
    if kind == "article":
        return f"<figure>{block.html}</figure>\n"
    return f"<p>{block.html}</p>\n"


def page_html(draft: Draft) -> str:
    """The whole page: template, boilerplate and main content."""
    site = draft.site
    root, home, name = site.root, f"{site.root}/", escape(site.name)
    modern = site.kind in ("article", "gallery", "forum", "product")
    header, nav, footer, aside = ("header", "nav", "footer", "aside") if modern else ("div",) * 4
    return f"""<!DOCTYPE html>
<html lang="{draft.language}"{' dir="rtl"' if draft.language == "ar" else ""}>
<head>
{head_html(draft)}</head>
<body class="{site.kind}-page">
<div id="cookie-banner" class="cookie-consent" role="dialog"><p>We use cookies to count visits.</p>
<button>Accept</button><button>Settings</button></div>
<{header} id="header" class="site-header"><a href="{home}"><img src="{root}/static/logo.png" alt="{name}"></a>
<{nav} id="nav" class="navigation menu"><ul><li><a href="{home}">Home</a></li><li><a href="{home}#about">About</a></li>
<li><a href="{home}#contact">Contact</a></li></ul></{nav}></{header}>
{main_html(site.kind, draft.blocks)}
{draft.after}<div class="share-buttons social"><a href="{home}#"><img src="{root}/static/share.png" alt=""></a></div>
<{aside} id="sidebar" class="sidebar widget-area"><h4>Related pages</h4>
{related_html(draft)}</{aside}>
<{footer} id="footer" class="site-footer"><p>© {name}. All rights reserved.</p>
<p><a href="{home}#terms">Terms</a> <a href="{root}/private/statistics.json">Statistics</a></p></{footer}>
</body>
</html>
"""


def head_html(draft: Draft) -> str:
    """The contents of the head element."""
    meta = ""
    if draft.declared in ("meta", "both"):
        meta = f'<meta charset="{draft.encoding}">'
    if draft.declared == "http-equiv":
        meta = f'<meta http-equiv="Content-Type" content="text/html; charset={draft.encoding}">'
    base = f"<base{attributes(href=draft.base)}>" if draft.base else ""
    root = draft.site.root
    return f"""{meta}{base}<title>{escape(draft.title, quote=False)} | {escape(draft.site.name)}</title>
<meta name="viewport" content="width=device-width, initial-scale=1">
<link rel="stylesheet" href="{root}/static/style.css">
<link rel="canonical"{attributes(href=draft.url)}>
{draft.head}<script src="{root}/static/site.js"></script>
"""


def related_html(draft: Draft) -> str:
    """Links to other pages of the site, with thumbnails."""
    links = "".join(f"<li><a{attributes(href=url)}>{escape(text, quote=False)}</a></li>" for url, text in draft.links)
    thumbs = "".join(
        f"<li><a{attributes(href=page)}><img{attributes(src=picture, alt='', width='60', height='60')}></a></li>"
        for page, picture in draft.thumbs
    )
    return f'<ul>{links}</ul>\n<ul class="thumbs">{thumbs}</ul>'
