"""Detection of undeclared legacy encodings beside its peers, on real text in the encodings of the web.

    python -m tests.bench.charset FOLDER...

The folders hold compiled translations (LANGUAGE/LC_MESSAGES/*.mo): those of Django, of the system (/usr/share/locale).
From each language come pages of about 300 and of about 4,000 characters, and of one line among English ones, in each
encoding of the WHATWG Encoding standard in which the language was written. A page counts as right if it
decodes to the text it was made from. Detectors that are not installed are left out.
"""

import argparse
import gettext
import hashlib
import importlib
import re
import time
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path

import webencodings

from pipeline.extract.charset import codec, decode, sample

CYRILLIC = ("windows-1251", "iso-8859-5", "ibm866", "x-mac-cyrillic")
WESTERN = ("windows-1252",)
CENTRAL = ("windows-1250", "iso-8859-2")
BALTIC = ("windows-1257", "iso-8859-13", "iso-8859-4")
LANGUAGES = {
    **dict.fromkeys(("ru", "bg"), ("windows-1251", "koi8-r", *CYRILLIC[1:])),
    "uk": ("windows-1251", "koi8-u"),
    **dict.fromkeys(("be", "mk", "sr"), ("windows-1251", "iso-8859-5")),
    **dict.fromkeys(("de", "fr", "es", "pt", "it", "nl", "da", "sv", "nb", "fi", "is", "ca"), WESTERN),
    **dict.fromkeys(("cs", "pl", "hu", "sk", "sl", "hr"), CENTRAL),
    "ro": ("windows-1250", "iso-8859-2", "iso-8859-16"),
    **dict.fromkeys(("lt", "lv"), BALTIC),
    "et": ("windows-1257",),
    "tr": ("windows-1254",),
    "el": ("windows-1253", "iso-8859-7"),
    "he": ("windows-1255", "iso-8859-8"),
    "ar": ("windows-1256", "iso-8859-6"),
    "fa": ("windows-1256",),
    "vi": ("windows-1258",),
    "th": ("windows-874",),
    "ja": ("shift_jis", "euc-jp", "iso-2022-jp"),
    "ko": ("euc-kr",),
    "zh_Hans": ("gbk", "gb18030"),
    "zh_CN": ("gbk", "gb18030"),
    "zh_Hant": ("big5",),
    "zh_TW": ("big5",),
    "eo": ("iso-8859-3",),
    "cy": ("iso-8859-14",),
}
LENGTHS = {"short": 300, "long": 4000, "sparse": 80}  # characters; sparse: among 3,000 of English
PAGES = 8  # of each language, encoding and length
ENGLISH = b"<p>The keeper climbed the stairs every evening, lit the lamp, and wrote the hour into the log.</p>" * 30
_MARKUP = re.compile(r"<[^>]*>|%\([^)]*\)[a-z]|%[-\d.]*[a-z]|\{[^}]*\}|[_&~]")
Detector = Callable[[bytes], str | None]


def _peers() -> dict[str, Detector]:
    """What each library makes of a sample, as an encoding label."""
    calls: dict[str, tuple[str, Callable[..., Detector]]] = {
        "chardet": ("chardet", lambda m: lambda data: m.detect(data)["encoding"]),
        "charset-normalizer": (
            "charset_normalizer",
            lambda m: lambda data: getattr(m.from_bytes(data).best(), "encoding", None),
        ),
        "faust-cchardet": ("cchardet", lambda m: lambda data: m.detect(data)["encoding"]),
        "resiliparse": ("resiliparse.parse.encoding", lambda m: m.detect_encoding),
        "chardetng": ("chardetng_py", lambda m: lambda data: m.detect(data)),
    }
    found: dict[str, Detector] = {}
    for name, (module, make) in calls.items():
        try:
            found[name] = make(importlib.import_module(module))
        except ImportError:
            print(f"{name}: not installed")
    return found


def texts(folders: list[Path]) -> dict[str, list[str]]:
    """The translated messages of each language, in the order of their hashes."""
    found: dict[str, set[str]] = defaultdict(set)
    for folder in folders:
        for path in folder.rglob("LC_MESSAGES/*.mo"):
            if path.parts[-3] in LANGUAGES:
                try:
                    with path.open("rb") as file:
                        catalogue = gettext.GNUTranslations(file)
                except (OSError, ValueError):
                    continue
                for key, message in catalogue._catalog.items():  # type: ignore[attr-defined]
                    plain = " ".join(_MARKUP.sub("", message).split())
                    if key and len(plain) > 12 and not plain.isascii():
                        found[path.parts[-3]].add(plain)
    return {name: sorted(held, key=lambda text: hashlib.sha256(text.encode()).digest()) for name, held in found.items()}


def pages(messages: list[str], label: str, length: int, around: bytes) -> list[tuple[bytes, str]]:
    """Up to PAGES pages of about `length` characters: bytes and the text that they were made from. `around` comes
    first."""
    encoded = []
    for message in messages:
        try:
            encoded.append((webencodings.encode(message, label, "strict"), message))
        except UnicodeEncodeError:
            continue
    made: list[tuple[bytes, str]] = []
    part: list[tuple[bytes, str]] = []
    size = 0
    for piece in encoded:
        part.append(piece)
        size += len(piece[1])
        if size >= length:
            body = b"</p>\n<p>".join(data for data, _ in part)
            text = "</p>\n<p>".join(message for _, message in part)
            made.append((b"<html><title>Page</title><body>%s<p>%s</p></body></html>" % (around, body), text))
            part, size = [], 0
            if len(made) == PAGES:
                break
    return made


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("folders", nargs="+", type=Path)
    parser.add_argument("--each", action="store_true", help="list the encodings that are not always right")
    arguments = parser.parse_args()
    found = texts(arguments.folders)
    detectors = _peers()
    right: dict[tuple[str, str, str], list[bool]] = defaultdict(list)
    seconds: dict[str, float] = defaultdict(float)
    for language, messages in sorted(found.items()):
        for label in LANGUAGES[language]:
            for kind, length in LENGTHS.items():
                for data, text in pages(messages, label, length, ENGLISH if kind == "sparse" else b""):
                    for name, detect in detectors.items():
                        start = time.process_time()
                        encoding = codec(detect(sample(data)) or "") or "cp1252"
                        seconds[name] += time.process_time() - start
                        right[name, label, kind].append(text in data.decode(encoding, "replace"))
                    start = time.process_time()
                    whole = decode(data)
                    seconds["openm3w"] += time.process_time() - start
                    right["openm3w", label, kind].append(text in whole)
    labels = sorted({label for _, label, _ in right})
    for name in (*detectors, "openm3w"):
        line = f"{name:19s}"
        for kind in LENGTHS:
            held = [hits for label in labels if (hits := right[name, label, kind])]
            shares = [sum(hits) / len(hits) for hits in held]
            line += f"  {kind} {sum(shares) / len(shares):.3f}"
        pages_read = sum(len(hits) for (system, _, _), hits in right.items() if system == name)
        print(f"{line}  {1000 * seconds[name] / pages_read:.2f} ms/page  {pages_read} pages, {len(labels)} encodings")
        if arguments.each:
            for kind in LENGTHS:
                shares = [sum(hits) / len(hits) if (hits := right[name, x, kind]) else 1.0 for x in labels]
                less = (f"{x} {share:.2f}" for x, share in zip(labels, shares, strict=True) if share < 1)
                print(f"    {kind}:", *less, sep="  ")


if __name__ == "__main__":
    main()
