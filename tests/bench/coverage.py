"""How often the 95 % interval of a gain covers the truth, on simulated corpora with known truth.

    python -m tests.bench.coverage [CORPORA]     by default 2,000 of each case; Markdown on standard output

A corpus has a number of held-out sites, with a fixed number of documents each or a geometric one with the same mean,
and documents of log-normal length. The gain of a site, of a document, of a seed, and of a seed on a document, in bits
per token, is drawn from normal distributions of known width around the truth. `by site` is the interval if whole sites
are held out; `by document` what it would be if their documents were treated as independent. If sites are on both sides
of the split, documents are drawn from known sites, and the truth is the mean over these.
"""

import sys
from collections.abc import Iterator
from dataclasses import dataclass

import numpy as np

from train_min.measuring.validate import interval

TRUTH = 0.1
OF_DOCUMENT, OF_SEED_ON_DOCUMENT = 0.3, 0.1
DOCUMENTS = 7
SITES = (2, 3, 4, 6, 8, 12, 20, 40)


@dataclass(frozen=True)
class Case:
    """`of_site` and `of_seed` are the standard deviations between sites and between seeds; `even`: sites have one size;
    `known`: they are on both sides of the split."""

    sites: int
    of_site: float
    of_seed: float = 0.03
    seeds: int = 3
    even: bool = False
    known: bool = False


def drawn(case: Case, rng: np.random.Generator) -> tuple[np.ndarray, np.ndarray, np.ndarray]:
    """The sums (seeds, documents) and counts (documents,) of a corpus, and the site of each document."""
    if case.known:
        site = rng.integers(0, case.sites, case.sites * DOCUMENTS)
        effects = rng.normal(0, case.of_site, case.sites)
        effects -= effects.mean()
    else:
        sizes = np.full(case.sites, DOCUMENTS) if case.even else rng.geometric(1 / DOCUMENTS, case.sites)
        site = np.repeat(np.arange(case.sites), sizes)
        effects = rng.normal(0, case.of_site, case.sites)
    tokens = rng.lognormal(4.5, 0.8, len(site)).round() + 1
    gains = TRUTH + effects[site] + rng.normal(0, OF_DOCUMENT, len(site))
    models = gains + rng.normal(0, case.of_seed, (case.seeds, 1))
    models = models + rng.normal(0, OF_SEED_ON_DOCUMENT, (case.seeds, len(site)))
    return models * tokens, tokens, site


def coverage(case: Case, corpora: int) -> tuple[float, float, float]:
    """The share of corpora whose interval covers the truth, clustered by site and by document, and the median width of
    the interval that a run prints."""
    rng = np.random.default_rng(0)
    covered, widths = np.zeros(2), []
    for _ in range(corpora):
        sums, tokens, site = drawn(case, rng)
        spans = [interval(sums, tokens, clusters)[1:] for clusters in (site, np.arange(len(site)))]
        covered += [low <= TRUTH <= high for low, high in spans]
        low, high = spans[case.known]
        widths.append(high - low)
    by_site, by_document = (covered / corpora).tolist()
    return by_site, by_document, float(np.median(widths))


def tables(corpora: int) -> Iterator[str]:
    """Lines of Markdown."""
    spreads = (0.0, 0.1, 0.3)
    for even in (False, True):
        yield f"Three seeds, sites of {'one size' if even else 'very different sizes'}:"
        yield ""
        names = [f"spread {spread:g}" for spread in spreads]
        yield "| sites | " + " | ".join(f"{name}: by site | by document" for name in names) + " |"
        yield "|---" * (1 + 2 * len(spreads)) + "|"
        for sites in SITES:
            found = [coverage(Case(sites, spread, even=even), corpora) for spread in spreads]
            yield f"| {sites} | " + " | ".join(f"{site:.3f} | {document:.3f}" for site, document, _ in found) + " |"
        yield ""
    yield "By site, spread 0.1 between sites, by seeds and their spread (median width of the interval in brackets):"
    yield ""
    yield "| seeds | spread of seeds | " + " | ".join(f"{sites} sites" for sites in (4, 8, 20, 40)) + " |"
    yield "|---" * 6 + "|"
    for seeds in (1, 2, 3, 5):
        for of_seed in (0.0, 0.03, 0.15):
            cases = [coverage(Case(sites, 0.1, of_seed, seeds), corpora) for sites in (4, 8, 20, 40)]
            cells = " | ".join(f"{by_site:.3f} ({width:.2f})" for by_site, _, width in cases)
            yield f"| {seeds} | {of_seed:g} | {cells} |"
    yield ""
    yield "By document, where sites stand on both sides (the truth is that of these sites), three seeds:"
    yield ""
    yield "| sites | " + " | ".join(f"spread {spread:g}" for spread in spreads) + " |"
    yield "|---" * (1 + len(spreads)) + "|"
    for sites in (6, 12, 40):
        found = [coverage(Case(sites, spread, known=True), corpora)[1] for spread in spreads]
        yield f"| {sites} | " + " | ".join(f"{value:.3f}" for value in found) + " |"


if __name__ == "__main__":
    for line in tables(int(sys.argv[1]) if len(sys.argv) > 1 else 2000):
        print(line, flush=True)
