"""Text as numbers: tokens of every kind, the vocabulary, the parts, streams."""

from pathlib import Path

import pytest
import torch

from compress.text import Corpus, streams, tokens
from device.errors import BadInputError

TRAIN = "The bird sings.\n\nA bird, a <unk> nest\n"


def corpus(folder: Path, kind: str = "words", vocabulary: int = 100, train: str = TRAIN) -> Corpus:
    for part, text in (("train", train), ("valid", "the owl\n"), ("test", "nest\n")):
        (folder / f"x.{part}.txt").write_text(text)
    return Corpus(folder, kind, vocabulary)  # type: ignore[arg-type]


def test_tokens_of_every_kind() -> None:
    assert list(tokens("Don’t go, A\nb\n\n", "words")) == [
        "don’t",
        "go",
        ",",
        "a",
        "<eos>",
        "b",
        "<eos>",
    ]
    assert list(tokens("Don’t go, A", "whitespace")) == ["Don’t", "go,", "A", "<eos>"]
    assert list(tokens("ab\n", "characters")) == ["a", "b", "\n"]


def test_the_most_frequent_words_and_one_for_all_others(tmp_path: Path) -> None:
    found = corpus(tmp_path, vocabulary=4)
    assert found.words == ("<eos>", "a", "bird", "<unk>")
    assert found.numbers("train").tolist() == [3, 2, 3, 3, 0, 1, 2, 3, 1, 3, 3, 3, 3, 0]
    assert found.numbers("validation").tolist() == [3, 3, 0]


def test_prepared_text_has_its_own_unknown_word(tmp_path: Path) -> None:
    found = corpus(tmp_path, "whitespace")
    assert found.words.count("<unk>") == 1
    assert found.words[-1] == "<unk>"
    assert int(found.numbers("train")[7]) == len(found.words) - 1


def test_a_folder_without_its_parts_is_refused(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    (tmp_path / "x.test.txt").unlink()
    with pytest.raises(BadInputError, match=r"0 files \*\.test\.txt"):
        found.numbers("test")
    (tmp_path / "y.train.txt").write_text("b")
    with pytest.raises(BadInputError, match=r"2 files \*\.train\.txt"):
        Corpus(tmp_path, "words", 9).fingerprint("train")
    (tmp_path / "x.valid.txt").write_bytes(b"\xff\xfe\xff")
    with pytest.raises(BadInputError, match="not UTF-8"):
        found.numbers("validation")


def test_streams_lie_side_by_side() -> None:
    assert torch.equal(
        streams(torch.arange(11), 2), torch.tensor([[0, 5], [1, 6], [2, 7], [3, 8], [4, 9]])
    )


def test_every_part_counts_in_a_fingerprint(tmp_path: Path) -> None:
    found = corpus(tmp_path)
    before = found.fingerprint("train", "validation"), found.fingerprint("train")
    (tmp_path / "x.valid.txt").write_text("another text\n")
    assert found.fingerprint("train", "validation") != before[0]
    assert found.fingerprint("train") == before[1]
