"""A corpus of free drawings, each before its own words: does an image tell something about its title?

    apt-get download openclipart-svg openclipart-png tuxpaint-stamps-default fritzing-parts endless-sky-data \\
        freeorion-data wesnoth-1.16-data
    for package in *.deb; do dpkg -x $package packages; done
    npm pack openmoji cldr-annotations-full
    for package in openmoji cldr-annotations-full; do
        mkdir packages/$package; tar xzf $package-*.tgz -C packages/$package --strip 1; done
    python -m tests.bench.gallery packages -o gallery
    m3w build gallery/gallery.warc.gz -o gallery/corpus --no-fetch --set text.min_words=8
    m3w train gallery/corpus --steps 400

Pages show up to four images of one folder; every folder is a separate site, so that whole folders are held out, unless
--one-site is given. Packages that are missing are left out. Openclipart's titles and keywords come from its SVG files,
the stamps' sentences from the text files beside them, names and keywords of emoji from CLDR, descriptions of electronic
parts from Fritzing's, those of planets, ships and outfits from Endless Sky's data, of species, buildings and parts
from FreeOrion's scripts, of units from those of Battle for Wesnoth.
"""

import argparse
import json
import re
import shlex
from collections.abc import Iterator
from datetime import UTC, datetime, timedelta
from html import escape, unescape
from pathlib import Path

from pipeline.miniweb.web import Resource, Web
from pipeline.miniweb.write import write_warc

PICTURES = 4
"""Images per page."""
TITLE = re.compile(r"<dc:title>(.*?)</dc:title>", re.DOTALL)
KEYWORD = re.compile(r"<rdf:li>(.*?)</rdf:li>", re.DOTALL)
DESCRIPTION = re.compile(r"<dc:description>(.*?)</dc:description>", re.DOTALL)


def plain(text: str) -> str:
    return " ".join(unescape(re.sub(r"<[^>]*>", " ", text)).split())


def clipart(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Folder, image and text of each of openclipart's drawings."""
    root = packages / "usr/share/openclipart"
    for picture in sorted((root / "png").rglob("*.png")):
        source = (root / "svg" / picture.relative_to(root / "png")).with_suffix(".svg")
        if not source.is_file():
            continue
        markup = source.read_text(encoding="utf-8", errors="replace")
        title, description = (match and plain(match[1]) for match in (TITLE.search(markup), DESCRIPTION.search(markup)))
        keywords = [plain(word) for word in KEYWORD.findall(markup)]
        parts = [title, description if description != title else "", ", ".join(dict.fromkeys(filter(None, keywords)))]
        text = ". ".join(part for part in parts if part)
        if text:
            yield str(picture.parent.relative_to(root / "png")), picture, f"{text}."


def stamps(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Folder, image and English sentence of each of Tux Paint's stamps."""
    root = packages / "usr/share/tuxpaint/stamps"
    for picture in sorted(root.rglob("*.png")):
        source = picture.with_suffix(".txt")
        text = source.read_text(encoding="utf-8").splitlines() if source.is_file() else []
        if text and text[0].strip():
            yield f"stamps/{picture.parent.relative_to(root)}", picture, text[0].strip()


def emoji(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Group, image, and name with keywords of each of OpenMoji's drawings, those that differ in skin alone left out."""
    root = packages / "openmoji"
    if not root.exists():
        return
    words = json.loads((packages / "cldr-annotations-full/annotations/en/annotations.json").read_text())
    known = words["annotations"]["annotations"]
    for each in json.loads((root / "data/openmoji.json").read_text()):
        if each["skintone"]:
            continue
        found = known.get(each["emoji"], {"tts": [each["annotation"]], "default": each["tags"].split(", ")})
        keywords = [word for word in found.get("default", []) if word and word != found["tts"][0]]
        text = f"{found['tts'][0]}. {', '.join(keywords)}." if keywords else f"{found['tts'][0]}."
        yield f"emoji/{each['subgroups']}", root / f"color/svg/{each['hexcode']}.svg", text


def electronic_parts(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Family, drawing on a breadboard, and title with description of each of Fritzing's parts."""
    root = packages / "usr/share/fritzing/parts"
    for source in sorted(path for name in ("core", "contrib") for path in (root / name).glob("*.fzp")):
        markup = source.read_text(encoding="utf-8", errors="replace")
        title, description, family, picture = (
            plain(match[1]) if (match := re.search(pattern, markup, re.DOTALL)) else ""
            for pattern in (
                r"<title>(.*?)</title>",
                r"<description>(.*?)</description>",
                r'<property name="family">(.*?)</property>',
                r'<breadboardView.*?image="(.*?)"',
            )
        )
        path = root / "svg" / source.parent.name / picture
        if description and path.is_file():
            yield f"parts/{family or source.parent.name}", path, f"{title}. {description}"


ENTRY = re.compile(r"^(planet|ship|outfit) .*?(?=^\S)", re.DOTALL | re.MULTILINE)
SHOWN = re.compile(r"^\t(?:landscape|thumbnail|sprite) (.*)$", re.MULTILINE)
DESCRIBED = re.compile(r"^\tdescription [`\"](.*)[`\"]$", re.MULTILINE)


def endless_sky(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Kind and file, image, and name with description of each planet, ship and outfit of the game, each image once."""
    root = packages / "usr/share/games/endless-sky"
    used = set()
    for source in sorted(root.glob("data/*.txt")):
        for entry in ENTRY.finditer(f"{source.read_text(encoding='utf-8')}\n."):
            shown, described = SHOWN.search(entry[0]), DESCRIBED.findall(entry[0])
            name = entry[0].split("\n", 1)[0].removeprefix(entry[1]).strip(' "`')
            if not shown or not described:
                continue
            stem = shlex.split(shown[1].replace("`", '"'))[0]
            picture = next((path for kind in ("jpg", "png") if (path := root / f"images/{stem}.{kind}").exists()), None)
            if picture and picture not in used:
                used.add(picture)
                # planets share one file: their landscapes are numbered variants of a few kinds
                kind = re.sub(r"[\d ].*", "", stem) if entry[1] == "planet" else f"{entry[1]}/{source.stem}"
                yield f"sky/{kind}", picture, f"{name}. {' '.join(plain(line) for line in described)}"


ORION_TEXT = re.compile(r"^([A-Z][A-Z0-9_]*)\n(?:'''(.*?)'''|([^\n]+))$", re.DOTALL | re.MULTILINE)
ORION_NAME = re.compile(r'\bname\s*=\s*"(\w+)"')
ORION_TOLD = re.compile(r'\bdescription\s*=\s*"(\w+)"')
ORION_SHOWN = re.compile(r'\b(?:icon|graphic)\s*=\s*"([\w/ -]+\.png)"')
ORION_MARKUP = re.compile(r"\[\[.*?\]\]|%\w+%", re.DOTALL)


def freeorion(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Kind, image, and name with description of FreeOrion's species, parts, buildings and monsters, each image once."""
    root = packages / "usr/share/games/freeorion/default"
    if not root.exists():
        return
    found = ORION_TEXT.finditer((root / "stringtables/en.txt").read_text(encoding="utf-8"))
    words = {entry[1]: plain(ORION_MARKUP.sub(" ", entry[2] or entry[3] or "")) for entry in found}
    used = set()
    for source in sorted(path for kind in ("txt", "py") for path in (root / "scripting").rglob(f"*.{kind}")):
        script = source.read_text(encoding="utf-8", errors="replace")
        name, told, shown = (pattern.search(script) for pattern in (ORION_NAME, ORION_TOLD, ORION_SHOWN))
        if not name or not told or not shown:
            continue
        text = words.get(told[1], "")
        picture = root / "data/art" / shown[1]
        if name[1] in words and text and picture.is_file() and picture not in used:
            used.add(picture)
            yield f"orion/{Path(shown[1]).parent}", picture, f"{words[name[1]]}. {text}"


UNIT = re.compile(r"^\[unit_type\](.*?)^\[/unit_type\]", re.DOTALL | re.MULTILINE)
UNIT_NAME = re.compile(r'^\s*name\s*=\s*_\s*"([^"]*)"', re.MULTILINE)
UNIT_RACE = re.compile(r"^\s*race\s*=\s*(\w+)", re.MULTILINE)
UNIT_SHOWN = re.compile(r'^\s*(?:profile|image)\s*=\s*"?([\w/.+-]+\.(?:png|webp))', re.MULTILINE)
UNIT_TOLD = re.compile(r'^\s*description\s*=\s*_\s*"((?:[^"]|"")*)"', re.MULTILINE)


def wesnoth(packages: Path) -> Iterator[tuple[str, Path, str]]:
    """Race, portrait or figure, and name with description of the units of Battle for Wesnoth, each image once."""
    root = packages / "usr/share/games/wesnoth/1.16/data/core"
    used = set()
    for source in sorted((root / "units").rglob("*.cfg")):
        for unit in UNIT.finditer(source.read_text(encoding="utf-8")):
            name, race, told = (pattern.search(unit[1]) for pattern in (UNIT_NAME, UNIT_RACE, UNIT_TOLD))
            shown = [root / "images" / path for path in UNIT_SHOWN.findall(unit[1])]
            shown.sort(key=lambda path: "portraits" not in path.parts)
            picture = next((path for path in shown if path.is_file() and path not in used), None)
            if name and told and picture:
                used.add(picture)
                folder = race[1] if race else source.parent.name
                yield f"wesnoth/{folder}", picture, f"{name[1]}. {plain(told[1])}"


TYPES = {".png": "image/png", ".jpg": "image/jpeg", ".webp": "image/webp", ".svg": "image/svg+xml"}


def gallery(packages: Path, one_site: bool) -> Web:
    """Raises SystemExit if the packages are missing."""
    folders: dict[str, list[tuple[Path, str]]] = {}
    for source in (clipart, stamps, emoji, electronic_parts, endless_sky, freeorion, wesnoth):
        for folder, picture, text in source(packages):
            folders.setdefault(folder, []).append((picture, text))
        print(f"with {source.__name__}: {sum(map(len, folders.values()))} images in {len(folders)} folders")
    if not folders:
        raise SystemExit(f"{packages} holds none of the packages: see --help")
    web = Web()
    time = datetime(2026, 1, 1, tzinfo=UTC)

    def add(url: str, kind: str, body: bytes) -> None:
        date = (time + timedelta(seconds=len(web.captures))).strftime("%Y-%m-%dT%H:%M:%SZ")
        web.captures.append((url, Resource(200, (("Content-Type", kind),), body, date)))

    for folder, entries in folders.items():
        name = re.sub("[^a-z0-9]+", "-", folder.lower()).strip("-")
        base = f"https://gallery.example/{name}" if one_site else f"https://{name}.example"
        for page in range(-(-len(entries) // PICTURES)):
            shown = entries[page * PICTURES : (page + 1) * PICTURES]
            body = ""
            for number, (picture, text) in enumerate(shown):
                url = f"{base}/{page}-{number}{picture.suffix}"
                add(url, TYPES[picture.suffix], picture.read_bytes())
                body += f'<p><img src="{url}" alt=""></p>\n<p>{escape(text)}</p>\n'
            html = f"<!doctype html><html lang=en><title>{page}</title><main><article>\n{body}</article></main></html>"
            add(f"{base}/{page}.html", "text/html; charset=utf-8", html.encode())
    return web


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("packages", type=Path)
    parser.add_argument("-o", "--output", type=Path, required=True)
    parser.add_argument("--one-site", action="store_true", help="so that single pages are held out, not folders")
    options = parser.parse_args()
    options.output.mkdir(parents=True, exist_ok=True)
    web = gallery(options.packages, options.one_site)
    write_warc(web, options.output / "gallery.warc.gz")
    print(f"{len(web.captures)} captures on {len({url.split('/')[2] for url, _ in web.captures})} hosts")


if __name__ == "__main__":
    main()
