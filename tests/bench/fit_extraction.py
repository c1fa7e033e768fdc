"""Fit what extraction knows of pages to the annotated pages in ../shared/data that are not locked: the kind of a page
(pipeline/extract/kinds.csv), the block classifier (classifier.csv) and the image classifier (images.csv).

    python -m tests.bench.fit_extraction [--folds N [--record]]

With --folds, pages are divided by a hash of their site, and each is extracted with coefficients that were fitted to the
other folds: the printed figures are those to expect on pages of the same kinds. Without, all pages are used and the
coefficients are written. A block is labelled by aligning the page's words with the expected ones; an image by the
images that are expected or, weakly, where only text is annotated: between two expected blocks it is probably the page's
own, far from any it is not. Each step is fitted to what the step before says of pages that it was not fitted to.
"""

import argparse
import zlib
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from unittest.mock import patch

import numpy as np
import torch

from pipeline.extract import ExtractOptions, classifier, flat_page, image_classifier, kind
from pipeline.extract.charset import decode
from pipeline.extract.content import candidate, sums
from pipeline.extract.features import NAMES, features
from pipeline.extract.page import NOSCRIPT, PAGE_KINDS, Page, Picture
from pipeline.extract.selection import choose_text, is_decoration
from pipeline.urls import site_of
from tests.bench.annotated import AnnotatedPage, data_sets, interleave_score, postlight, wcxb_more
from tests.bench.extraction import Row, figures, header, line, openm3w, rows, trafilatura
from tests.bench.results import Figure, record

PENALTY = 1.0  # of the squared coefficients, beside a loss of at most some tenths a page
KIND_PENALTY = 30.0  # of the squared coefficients of the kinds, for features of unit variance
IMAGE_PENALTY = 2.0  # of the squared coefficients of the images, for features of unit variance
LEAD = 0.5  # the weight of a lead that the expectation leaves out
WEAK = 0.1  # the weight of a weakly labelled page beside one whose images are annotated
FAR = 4  # blocks with text on either side of an image that make it far from any expected one
ITERATIONS = 100
INNER = 3  # folds inside the fit: a page's kind is told by coefficients that were fitted to other pages


@dataclass(eq=False)
class Example:
    """One page: the features and labels of its blocks, and the weight of each; the weights of a page sum to one."""

    page: AnnotatedPage
    site: str
    kind: str
    whole: np.ndarray  # the features of the page
    design: np.ndarray  # [blocks, 4 features], in the order of the columns of the coefficients
    labels: np.ndarray
    weights: np.ndarray


Coefficients = tuple[np.ndarray, np.ndarray]  # and intercepts


@dataclass
class Fitted:
    """The coefficients and intercepts of each step."""

    kinds: Coefficients
    blocks: Coefficients
    images: tuple[np.ndarray, float] = (np.zeros(len(image_classifier.NAMES), np.float32), 0.0)

    @contextmanager
    def used(self) -> Iterator[None]:
        """Extraction with these coefficients."""
        with (
            patch.object(kind, "coefficients", lambda: self.kinds),
            patch.object(classifier, "coefficients", lambda: self.blocks),
            patch.object(image_classifier, "coefficients", lambda: self.images),
        ):
            yield


@dataclass
class Images:
    """The images of one page: features, labels, and the weight of each."""

    design: np.ndarray  # [images, features]
    labels: np.ndarray
    weights: np.ndarray


ARTICLES = ("readability", "scrapinghub", "postlight")  # sets of news and blogs, whose kind is not annotated


def site(name: str, page: AnnotatedPage) -> str:
    """What pages are grouped by; some sets have no addresses."""
    return page.name if name in ("readability", "defuddle") else site_of(page.url)


def fold_of(site: str, folds: int) -> int:
    return zlib.crc32(site.encode()) % folds


def open_sets() -> dict[str, list[AnnotatedPage]]:
    """The pages that rules and coefficients may be chosen by."""
    more = {"wcxb, more": wcxb_more(), "postlight": postlight()}
    return data_sets() | {name: [page for page in pages if not page.locked] for name, pages in more.items()}


def aligned(texts: list[str], expected: list[str]) -> tuple[np.ndarray, np.ndarray]:
    """For each block, the share of its words found in the expected text at their place, and its word count."""
    words_of, anchors = interleave_score.words, interleave_score.anchors
    words: list[str] = []
    owner: list[int] = []
    for index, text in enumerate(texts):
        block = words_of(text)
        words += block
        owner += [index] * len(block)
    covered, used = [False] * len(words), [False] * len(expected)
    pairs = anchors(words, expected, 4)
    if len(pairs) < 3:
        pairs = anchors(words, expected, 3) or anchors(words, expected, 2)
    for x, y in pairs:
        i, j = x, y
        while i < len(words) and j < len(expected) and words[i] == expected[j] and not covered[i]:
            covered[i] = used[j] = True
            i, j = i + 1, j + 1
        i, j = x - 1, y - 1
        while i >= 0 and j >= 0 and words[i] == expected[j] and not covered[i]:
            covered[i] = used[j] = True
            i, j = i - 1, j - 1
    counts = np.bincount(owner, minlength=len(texts)) if owner else np.zeros(len(texts), int)
    hits = np.bincount(owner, weights=covered, minlength=len(texts)) if owner else np.zeros(len(texts))
    share = np.where(counts > 0, hits / np.maximum(counts, 1), 0)
    # what the page tells in another order than the expectation
    rest = Counter(tuple(expected[i : i + 4]) for i in range(len(expected) - 3) if not all(used[i : i + 4]))
    start = 0
    for index, length in enumerate(counts):
        block, start = words[start : start + length], start + length
        if length >= 5 and share[index] < 0.5:
            shingles = [tuple(block[i : i + 4]) for i in range(length - 3)]
            found = [shingle for shingle in shingles if rest[shingle] > 0]
            if len(found) > 0.7 * len(shingles):
                share[index] = 1
                rest.subtract(found)
    return share, counts


def flat(page: AnnotatedPage) -> Page:
    return flat_page(
        decode(page.html, page.content_type).replace("\0", ""), ExtractOptions(max_elements=500_000), page.url
    )


def examples() -> list[Example]:
    """Every annotated page that is not locked."""
    result = []
    for name, pages in open_sets().items():
        for page in pages:
            read_page = flat(page)
            expected = interleave_score.words(" ".join(value for kind, value in page.expected if kind == "text"))
            if not read_page.blocks or not read_page.tags or len(expected) <= 20:
                continue
            share, words = aligned([block.text for block in read_page.blocks], expected)
            # a page's words count less the longer their block
            weights = np.where(words > 0, (words + 1) ** 0.7, 0.3)
            seen = np.array([not block.state & NOSCRIPT for block in read_page.blocks])
            total = sums(read_page)
            values, containers = features(read_page, total, candidate(read_page, total))
            chars = np.array([block.chars for block in read_page.blocks], np.float32)
            design = [
                values,
                classifier.nearby(values),
                classifier.within(values, containers, chars),
                np.broadcast_to(classifier.overall(values, chars), values.shape),
            ]
            labels = (share >= 0.5) | ((share > 0.3) & (words > 30))
            result.append(
                Example(
                    page,
                    site(name, page),
                    page.kind or ("article" if name in ARTICLES else ""),
                    kind.features(read_page, page.url, total.blocks, values),
                    np.concatenate(design, 1)[seen],
                    labels[seen],
                    (weights / weights.sum())[seen],
                )
            )
    return result


def minimum(size: int, loss, iterations: int) -> np.ndarray:  # type: ignore[no-untyped-def]
    """The numbers that minimise a convex `loss`: where the search for them begins does not matter."""
    unknown = torch.zeros(size, requires_grad=True)
    search = torch.optim.LBFGS([unknown], max_iter=iterations, history_size=10, line_search_fn="strong_wolfe")

    def step() -> torch.Tensor:
        search.zero_grad()
        value = loss(unknown)
        value.backward()
        return value

    search.step(step)
    return unknown.detach().numpy()


def fit_kinds(pages: list[Example]) -> Coefficients:
    """Coefficients [features, kinds] and intercepts [kinds] from the pages whose kind is annotated."""
    known = [page for page in pages if page.kind]
    design = np.stack([page.whole for page in known])
    mean, deviation = design.mean(0), design.std(0) + 0.05
    inputs = torch.from_numpy((design - mean) / deviation)
    labels = torch.tensor([PAGE_KINDS.index(page.kind) for page in known])
    shape = (design.shape[1], len(PAGE_KINDS))
    size = shape[0] * shape[1]

    def loss(unknown: torch.Tensor) -> torch.Tensor:
        logits = inputs @ unknown[:size].reshape(shape) + unknown[size:]
        error = torch.nn.functional.cross_entropy(logits, labels, reduction="sum")
        return error + KIND_PENALTY / 2 * (unknown[:size] ** 2).sum()

    fitted = minimum(size + len(PAGE_KINDS), loss, 2 * ITERATIONS)
    table = fitted[:size].reshape(shape) / deviation[:, None]
    return table.round(3), (fitted[size:] - mean @ table).round(3)


def kinds_of(pages: list[Example], fitted: Coefficients) -> list[np.ndarray]:
    with patch.object(kind, "coefficients", lambda: fitted):
        return [kind.probabilities(page.whole) for page in pages]


def fit_blocks(pages: list[Example], kinds: list[np.ndarray]) -> Coefficients:
    """Coefficients [features, 4 + kinds] and intercepts [1 + kinds], rounded to three places."""
    design = torch.from_numpy(np.concatenate([page.design for page in pages]))
    labels = torch.from_numpy(np.concatenate([page.labels for page in pages]).astype(np.float32))
    weights = torch.from_numpy(np.concatenate([page.weights for page in pages]).astype(np.float32))
    of = torch.from_numpy(
        np.concatenate([np.tile(probable, (len(page.labels), 1)) for page, probable in zip(pages, kinds, strict=True)])
    )
    count, each, size = len(PAGE_KINDS), len(NAMES), design.shape[1]

    def loss(unknown: torch.Tensor) -> torch.Tensor:
        of_kinds = unknown[size : size + count * each].reshape(each, count)
        logits = design @ unknown[:size] + ((design[:, :each] @ of_kinds + unknown[-count - 1 : -1]) * of).sum(1)
        logits = logits + unknown[-1]
        error = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, weights, reduction="sum")
        return error + PENALTY / 2 * (unknown[:-1] ** 2).sum()

    fitted = minimum(size + count * each + count + 1, loss, ITERATIONS).round(3)
    windows = fitted[:size].reshape(classifier.WINDOWS, each).T
    table = np.concatenate([windows, fitted[size : size + count * each].reshape(each, count)], 1)
    return np.ascontiguousarray(table), np.array([fitted[-1], *fitted[-count - 1 : -1]], np.float32)


def images_of(page: AnnotatedPage) -> Images | None:
    """The labelled images of a page, with the text that extraction keeps now."""
    found = flat(page)
    total = sums(found)
    best = candidate(found, total)
    text, revealed = choose_text(found, page.url, total, best)
    chosen = image_classifier.candidates(found)
    if not chosen:
        return None
    offered = [found.pictures[index] for index in chosen]
    known = page.pictures is not None
    labels, weights = _by_names(page, offered) if known else _weakly(page, found, offered)
    for place, picture in enumerate(offered):
        if (picture.hidden and not revealed) or is_decoration(picture) or picture.block < 0:
            weights[place] = 0
    if not weights.any():
        return None
    design = image_classifier.features(found, total, best, text)
    return Images(design, labels, (1 if known else WEAK) * weights / weights.sum() ** 0.8)


def _by_names(page: AnnotatedPage, offered: list[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of images that are annotated: a repeated one does not count; the page's own lead, which many
    expectations leave out, is weakly its own. Where nothing is expected, an image counts less."""
    named = [page.pictures.name(picture.urls) for picture in offered]
    expected = {value for kind, value in page.pictures.renamed(page.expected) if kind == "image"}
    leads = page.pictures.leads()
    labels = np.array([name in expected for name in named], float)
    first = np.array([name not in named[:place] for place, name in enumerate(named)])
    lead = np.array([name in leads and name not in expected for name in named])
    weights = np.where(lead, LEAD, 1.0 if expected else 0.3)
    return np.where(lead, 1, labels), first * weights


def _weakly(page: AnnotatedPage, found: Page, offered: list[Picture]) -> tuple[np.ndarray, np.ndarray]:
    """Labels and weights of images by the text around them; the first one that the page's head names is its own."""
    expected = interleave_score.words(" ".join(value for kind, value in page.expected if kind == "text"))
    share, words = aligned([block.text for block in found.blocks], expected)
    true, written = (share >= 0.5) & (words > 0), np.flatnonzero(words > 0)
    labels, weights = np.zeros(len(offered)), np.zeros(len(offered))
    if len(expected) <= 20 or not true.any():
        return labels, weights
    leads = {image_classifier.stem(url) for url in found.head.leads}
    for place, picture in enumerate(offered):
        at = int(np.searchsorted(written, picture.block))
        after = at + (at < len(written) and written[at] == picture.block)
        around = written[max(0, at - FAR) : at + FAR]
        name = image_classifier.stem(picture.urls[0])
        if name in leads:
            labels[place] = weights[place] = 1
            leads.discard(name)
        elif at and after < len(written) and true[written[at - 1]] and true[written[after]]:
            labels[place] = weights[place] = 1
        elif not true[around].any():
            weights[place] = 1
    return labels, weights


def fit_images(pages: list[Images]) -> tuple[np.ndarray, float]:
    """Coefficients [features], rounded to three places, and the intercept."""
    design = np.concatenate([page.design for page in pages])
    # each page counts once as it is and once as if its head named no image: other pages' heads name none
    silent = design.copy()
    silent[:, [image_classifier.NAMES.index(name) for name in ("lead", "first lead")]] = 0
    design = np.concatenate([design, silent])
    mean, deviation = design.mean(0), design.std(0) + 0.05
    inputs = torch.from_numpy((design - mean) / deviation)
    labels = torch.from_numpy(np.concatenate([page.labels for page in pages] * 2).astype(np.float32))
    weights = torch.from_numpy(np.concatenate([page.weights / 2 for page in pages] * 2).astype(np.float32))

    def loss(unknown: torch.Tensor) -> torch.Tensor:
        logits = inputs @ unknown[:-1] + unknown[-1]
        error = torch.nn.functional.binary_cross_entropy_with_logits(logits, labels, weights, reduction="sum")
        return error + IMAGE_PENALTY / 2 * (unknown[:-1] ** 2).sum()

    fitted = minimum(design.shape[1] + 1, loss, 2 * ITERATIONS)
    table = (fitted[:-1] / deviation).round(3)
    return table, round(float(fitted[-1] - mean @ table), 3)


def fit(pages: list[Example]) -> Fitted:
    """The coefficients of all three steps."""
    folds = [[page for page in pages if fold_of(page.site, INNER) == fold] for fold in range(INNER)]
    of_kinds, kinds = [], {}
    for fold in folds:
        of_kinds.append(fit_kinds([page for page in pages if page not in fold]))
        kinds.update(zip(map(id, fold), kinds_of(fold, of_kinds[-1]), strict=True))
    images = []
    for fold, of_kind in zip(folds, of_kinds, strict=True):
        others = [page for page in pages if page not in fold]
        with Fitted(of_kind, fit_blocks(others, [kinds[id(page)] for page in others])).used():
            images += [found for page in fold if (found := images_of(page.page)) is not None]
    blocks = fit_blocks(pages, [kinds[id(page)] for page in pages])
    return Fitted(fit_kinds(pages), blocks, fit_images(images))


def write(fitted: Fitted) -> None:
    images, intercept = fitted.images
    windows = ("here", "nearby", "container", "page")
    tables = (
        (kind.COEFFICIENTS, kind.NAMES, PAGE_KINDS, *fitted.kinds),
        (classifier.COEFFICIENTS, NAMES, (*windows, *PAGE_KINDS), *fitted.blocks),
        (image_classifier.COEFFICIENTS, image_classifier.NAMES, ("here",), images[:, None], [intercept]),
    )
    for path, names, columns, table, constants in tables:
        lines = [",".join(("feature", *columns)), ",".join(("intercept", *(f"{value:.3f}" for value in constants)))]
        lines += [",".join((name, *(f"{value:.3f}" for value in row))) for name, row in zip(names, table, strict=True)]
        path.write_text("\n".join(lines) + "\n", "ascii")
        print("written", path)


def on_unseen_pages(pages: list[Example], folds: int) -> dict[str, list[Row]]:
    """Figures on each page of each set with coefficients fitted to the other folds."""
    scores: dict[str, list[Row]] = {}
    for held_out in range(folds):
        with fit([page for page in pages if fold_of(page.site, folds) != held_out]).used():
            for name, annotated in open_sets().items():
                unseen = [page for page in annotated if fold_of(site(name, page), folds) == held_out]
                scores.setdefault(name, []).extend(rows(openm3w, unseen))
    return scores


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__.split("\n")[0])
    parser.add_argument("--folds", type=int, default=0)
    parser.add_argument("--record", action="store_true", help="write the figures of folds to results/extraction.json")
    arguments = parser.parse_args()
    torch.set_num_threads(1)
    pages = examples()
    print(f"{len(pages)} pages, {sum(len(page.labels) for page in pages)} blocks, {len(NAMES)} features", flush=True)
    if not arguments.folds:
        write(fit(pages))
        return
    print(header())
    found = []
    for name, scored in on_unseen_pages(pages, arguments.folds).items():
        ours = figures(scored)
        if name == "readability" and ours.image_f1 is not None and ours.placed_all is not None:
            found.append(Figure("folds: readability, text F1", round(ours.shingle_f1, 3)))
            found.append(Figure("folds: readability, image F1", round(ours.image_f1, 3)))
            found.append(Figure("folds: readability, images placed", round(ours.placed_all, 3)))
        else:
            found.append(Figure(f"folds: {name}, word F1", round(ours.word_f1, 3)))
        print(line(name, "openm3w, unseen pages", ours))
        print(line(name, "trafilatura", figures(rows(trafilatura, open_sets()[name]))), flush=True)
        if name.startswith("wcxb"):
            for kind_ in sorted({row.page.rsplit("-", 1)[1] for row in scored}):
                of_kind = [row for row in scored if row.page.endswith(f"-{kind_}")]
                print(line(f"{name} {kind_}", "openm3w, unseen pages", figures(of_kind)))
    if arguments.record:
        data = "the same pages, coefficients fitted to the other folds; rules chosen on all"
        record("extraction", found, f"python -m tests.bench.fit_extraction --folds {arguments.folds}", data)


if __name__ == "__main__":
    main()
