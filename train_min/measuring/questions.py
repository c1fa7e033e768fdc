"""`m3w evaluate` on a folder of questions about two pictures, such as `python -m pipeline.miniweb --format questions`.

Every question is asked in both orders of its pictures, so a model that does not look is right in half of the cases,
whatever its text prefers. Closed: the likelier of the two answers; `same` is how often it is that in both orders. Open:
the generated text begins with the answer.
"""

import json
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import numpy as np
from torch import Tensor

from shards.records import Text
from shards.stream import token_stream
from shards.tokenizer import Tokenizer
from train_min import TrainError
from train_min.measuring.evaluate import PICTURE, answer_tokens, encode_contents, load_run
from train_min.measuring.generate import Prompt, greedy, likelihoods
from train_min.model.flamingo import AroundLM

FILE = "questions.jsonl"
ANSWERS = ("The first", "The second")


@dataclass(frozen=True)
class Question:
    """`right`: the index of the picture that the question asks for."""

    kind: str
    pictures: tuple[Path, Path]
    text: str
    right: int


def load_questions(folder: Path) -> list[Question]:
    """Read questions.jsonl: a line has kind, images (two paths in the folder), question, and right, 0 or 1. Raises
    TrainError."""
    found = []
    for number, line in enumerate((folder / FILE).read_text(encoding="utf-8").splitlines(), 1):
        try:
            row = json.loads(line)
            one, two = (folder / name for name in row["images"])
            if row["right"] not in (0, 1) or not (one.is_file() and two.is_file()):
                raise ValueError("right is 0 or 1, images are two files")
            found.append(Question(str(row["kind"]), (one, two), str(row["question"]), row["right"]))
        except (ValueError, KeyError, TypeError) as error:
            raise TrainError(f"{folder / FILE}, line {number}: {error}") from None
    if not found:
        raise TrainError(f"{folder / FILE} has no questions")
    return found


def question_tokens(tokenizer: Tokenizer, question: str) -> np.ndarray:
    """Tokens of `<image>The first picture.<image>The second picture. QUESTION`."""
    nodes = [PICTURE, Text("The first picture."), PICTURE, Text(f"The second picture. {question}")]
    return token_stream(nodes, tokenizer, close=False).ids


def answered(
    model: AroundLM, tokenizer: Tokenizer, questions: list[Question], features: Tensor
) -> tuple[np.ndarray, list[str]]:
    """The index of the likelier answer to each question (Q,), and the text that is generated; `features` (2 Q, S, V)
    belong to their pictures, two by two."""
    chosen, prompts = [], []
    for number, question in enumerate(questions):
        prompt = Prompt(question_tokens(tokenizer, question.text), features[2 * number : 2 * number + 2])
        answers = [answer_tokens(tokenizer, answer, question.text) for answer in ANSWERS]
        chosen.append(int(np.argmax(likelihoods(model, prompt, answers, tokenizer.image_id))))
        prompts.append(prompt)
    texts: list[str] = []
    for start in range(0, len(prompts), 32):
        part = greedy(model, prompts[start : start + 32], tokenizer.image_id, tokenizer.eoc_id, length=8)
        texts += [tokenizer.decode(tokens).strip() for tokens in part]
    return np.array(chosen), texts


def run_questions(run: Path, folder: Path, report: Callable[[str], None]) -> dict[str, Any]:
    """Ask a run the questions in `folder` and write RUN/questions.json. Raises TrainError."""
    questions = load_questions(folder)
    asked = questions + [
        Question(question.kind, question.pictures[::-1], question.text, 1 - question.right) for question in questions
    ]
    model, tokenizer, setting = load_run(run)
    features = encode_contents([path.read_bytes() for entry in asked for path in entry.pictures], setting)
    right = np.array([question.right for question in asked])
    chosen, texts = answered(model, tokenizer, asked, features)
    first, second = np.split(chosen, 2)
    opened = np.array(
        [text.lower().startswith(ANSWERS[place].lower()) for text, place in zip(texts, right, strict=True)]
    )
    rows = []
    for kind in dict.fromkeys(question.kind for question in questions):
        mine = np.array([question.kind == kind for question in asked])
        count = int(mine.sum())
        closed = float((chosen == right)[mine].mean())
        row = {
            "kind": kind,
            "questions": count // 2,
            "closed": closed,
            "error": float(np.sqrt(closed * (1 - closed) / count)),
            "same": float((first == second)[mine[: len(questions)]].mean()),
            "open": float(opened[mine].mean()),
        }
        rows.append(row)
        report(
            f"{kind}: {row['closed']:.3f} (standard error {row['error']:.3f}) of {row['questions']} questions in both "
            f"orders, chance 0.500; the same answer in both {row['same']:.3f}; open answers {row['open']:.3f}"
        )
    result = {"task": folder.name, "rows": rows}
    (run / "questions.json").write_text(json.dumps(result, indent=1, sort_keys=True))
    return result
