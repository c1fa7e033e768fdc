"""Stages wanted and fetched: fetch images that the input lacks or holds in no usable form, if the network may be
used."""

from pipeline.engine.tasks import FileEntry, stage_key
from pipeline.stages import fetch
from pipeline.stages.fetch import FetchImages
from pipeline.stages.references import FindImages
from pipeline.stages.schemas import MISSING
from pipeline.stages.step import Build, Step

WANTED = Step("wanted", ("dedup",), lambda b: finding(b, wanted=True), lambda b: MISSING.names, join=True)


def finding(build: Build, wanted: bool = False) -> FindImages:
    """What finds the images of pages, among fetched ones too unless it says what is `wanted`."""
    links = any(entry.rows for entry in build.files["pages"] if entry.path.startswith("work/links/"))
    lists = 0 if wanted else len(build.files["fetched"])
    return FindImages(build.corpus, len(build.part_tasks), build.partitions, links, lists, wanted)


def fetch_missing(build: Build) -> None:
    """Fetch images missing from the input, host by host; without a network, use what an earlier run fetched."""
    corpus, network = build.corpus, build.network
    if not network.open:
        build.files["fetched"] = fetch.read_result(corpus)
        return
    build.run_steps([WANTED])
    wanted = build.keys["wanted"]
    tasks = fetch.write_lists(corpus, build.files["wanted"])
    attempt, lists = fetch.attempt_of(corpus, wanted, network.retry_failed), len(tasks)
    run = stage_key("fetched", wanted, attempt)[:8]
    files: list[FileEntry] = []
    for turn in range(fetch.HOSTS):
        if not any(task.weight for task in tasks):
            break
        name = f"fetched-{turn}" if turn else "fetched"
        transform = FetchImages(corpus, network, build.recipe, run, lists)
        step = Step(name, ("wanted",), lambda build: transform, lambda build: attempt, tasks=lambda build: tasks)  # noqa: B023
        build.run_steps([step])
        files += build.files[name]
        tasks = fetch.write_further_lists(corpus, tasks)
    fetch.write_result(corpus, lists, files)
    build.files["fetched"] = files


def note_missing(build: Build) -> None:
    """Report how many images could be fetched, unless the user chose."""
    if build.network.fetch and not build.network.open:
        count = sum(entry.rows for entry in build.files["references"] if entry.path.startswith("work/missing/"))
        if count:
            build.engine.progress.note(
                f"{count} images on the web are not in the input: fetch with --contact URL, or skip with --no-fetch"
            )
