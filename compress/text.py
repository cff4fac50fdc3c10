"""Text for language models: a folder in the form of the Penn Treebank, as numbers.

A folder holds one `*.train.txt`, one `*.valid.txt` and one `*.test.txt`. What a token is:

    whitespace   what stands between blanks, as in PTB and WikiText, whose text is prepared so
    words        lower-cased words and single marks: plain text
    characters   as in enwik8; perplexity is then per character, and its binary logarithm is BPC

A line's end is the token <eos>; with characters it is a newline. What is not among the most
frequent tokens of the training part is <unk>, and is predicted like any other.
"""

import hashlib
import re
from collections import Counter
from collections.abc import Iterator
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path
from typing import Literal

import torch
from torch import Tensor

from device.errors import BadInputError

Kind = Literal["whitespace", "words", "characters"]
UNKNOWN, END = "<unk>", "<eos>"
PARTS = {"train": "train", "validation": "valid", "test": "test"}
WORD = re.compile(r"\w+(?:['’]\w+)*|[^\w\s]")


def tokens(text: str, kind: Kind) -> Iterator[str]:
    """The tokens of a text."""
    if kind == "characters":
        yield from text
        return
    for line in text.splitlines():
        if line.strip():
            yield from line.split() if kind == "whitespace" else WORD.findall(line.lower())
            yield END


@dataclass(frozen=True)
class Corpus:
    """A folder of text.

    Args:
        vocabulary: largest number of different tokens, <unk> included.

    Raises:
        BadInputError: on first use: no such files, more than one of a kind, or not UTF-8.
    """

    folder: Path
    kind: Kind
    vocabulary: int

    @cached_property
    def words(self) -> tuple[str, ...]:
        """The vocabulary, the most frequent token first; <unk> is the last."""
        counts = Counter(tokens(self._text("train"), self.kind))
        del counts[UNKNOWN]
        ordered = sorted(counts, key=lambda token: (-counts[token], token))
        return (*ordered[: self.vocabulary - 1], UNKNOWN)

    def numbers(self, part: str) -> Tensor:
        """A part's tokens as int64 [n]."""
        place = {word: number for number, word in enumerate(self.words)}
        unknown = place[UNKNOWN]
        found = tokens(self._text(part), self.kind)
        return torch.tensor([place.get(token, unknown) for token in found])

    def fingerprint(self, *parts: str) -> str:
        """SHA-256 of parts of the text."""
        digests = [hashlib.sha256(self._text(part).encode()).hexdigest() for part in parts]
        return hashlib.sha256("".join(digests).encode()).hexdigest()

    def _text(self, part: str) -> str:
        pattern = f"*.{PARTS[part]}.txt"
        paths = sorted(self.folder.glob(pattern))
        if len(paths) != 1:
            raise BadInputError(f"{self.folder}: {len(paths)} files {pattern}, expected one")
        try:
            return paths[0].read_text(encoding="utf-8")
        except UnicodeDecodeError as error:
            raise BadInputError(f"{paths[0]}: not UTF-8 text: {error}") from error


def streams(numbers: Tensor, count: int) -> Tensor:
    """A text cut into `count` equal stretches side by side [n / count, count]; the rest is left."""
    length = len(numbers) // count
    return numbers[: length * count].view(count, length).T.contiguous()
