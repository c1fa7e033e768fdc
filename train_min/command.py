"""The training command behind `m3w train` and `python -m train_min`. torch is imported only when training starts."""

import inspect
from dataclasses import fields, replace
from pathlib import Path
from typing import Annotated, Any

import typer

from shards.store import RemotePath, located
from train_min import TrainError
from train_min.options import AGAINST, DATA, FEW_SHOT, RUN, SCORE, TrainOptions


def train(
    context: typer.Context,
    corpus: Annotated[
        Path, typer.Argument(metavar="CORPUS", parser=located, help="A corpus directory, or s3://BUCKET/PREFIX.")
    ],
    output: Annotated[
        Path | None,
        typer.Option(
            "-o",
            "--output",
            metavar="DIR",
            help="Directory of the run; use the same one to resume.",
            rich_help_panel=RUN,
            show_default="CORPUS/runs/default, scores or against-NAME",
        ),
    ] = None,
    against: Annotated[
        Path | None,
        typer.Option(
            metavar="CORPUS",
            help="Compare with another corpus: which of the two teaches more?",
            rich_help_panel=DATA,
            show_default="none",
        ),
    ] = None,
    score: Annotated[
        bool,
        typer.Option(
            "--score",
            help="Score every document and image by what it tells about its text, with models that never saw it; "
            "m3w build --set image_text.scores=FILE filters by them.",
            rich_help_panel=DATA,
        ),
    ] = False,
    **given: Any,
) -> None:
    """Train a small Flamingo and measure how much the images of a corpus tell about its text."""
    options = TrainOptions(**given)
    try:
        from train_min.against import run_against
        from train_min.fewshot import run_few_shot
        from train_min.score import run_score
        from train_min.train import run
    except ImportError as error:
        raise TrainError(f"training needs {error.name}: pip install 'openm3w[train]'") from None
    if score + options.few_shot + (against is not None) > 1:
        raise TrainError("--score, --few-shot and --against are different commands: run one after the other")
    name = "scores" if score else "few-shot" if options.few_shot else "default"
    out = output or corpus / "runs" / (name if against is None else f"against-{against.resolve().name}")
    if isinstance(out, RemotePath):
        raise TrainError(f"-o DIR is needed: a run is written to a local directory, not to {out}")
    defaults = SCORE if score else FEW_SHOT if options.few_shot else AGAINST if against is not None else {}
    own = {"every"} if options.lm != "nano" else set()
    changed = {key: value for key, value in defaults.items() if key not in own and _is_default(context, key)}
    options = replace(options, **changed)
    if against is not None:
        run_against(corpus, against, out, options, typer.echo)
    else:
        (run_score if score else run_few_shot if options.few_shot else run)(corpus, out, options, typer.echo)


def _is_default(context: typer.Context, name: str) -> bool:
    source = context.get_parameter_source(name)
    return source is not None and source.name == "DEFAULT"


def _signature() -> inspect.Signature:
    """The signature typer reads: the parameters of `train` plus every training option."""
    own = [p for p in inspect.signature(train).parameters.values() if p.kind is p.POSITIONAL_OR_KEYWORD]
    keyword = inspect.Parameter.POSITIONAL_OR_KEYWORD
    options = [
        inspect.Parameter(option.name, keyword, default=option.default, annotation=option.type)
        for option in fields(TrainOptions)
    ]
    return inspect.Signature([*own, *options], return_annotation=None)


train.__signature__ = _signature()  # type: ignore[attr-defined]
