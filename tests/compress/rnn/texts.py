"""A made-up language of a few words, small models of it, and the task on it."""

from pathlib import Path

import numpy as np
import torch

from compress.tasks import language
from models.lstm_lm import LanguageModel
from models.projections import Matrix

WORDS = ["the", "a", "bird", "sings", "flies", "sees", "its", "old", "nest", ",", "tall", "tree"]
WORDS += ["then", "rests"]


def write(folder: Path, tokens: int = 4000) -> Path:
    """Text of a Markov chain, in PTB's form."""
    folder.mkdir(parents=True, exist_ok=True)
    random = np.random.default_rng(0)
    chances = random.dirichlet(np.full(len(WORDS), 0.15), len(WORDS))
    for part, count in (("train", tokens), ("valid", tokens // 5), ("test", tokens // 5)):
        at, words = 0, []
        for _ in range(count):
            at = int(random.choice(len(WORDS), p=chances[at]))
            words.append(WORDS[at] + ("\n" if random.random() < 0.1 else " "))
        (folder / f"toy.{part}.txt").write_text("".join(words))
    return folder


def settings(**model: object) -> language.Settings:
    return language.Settings.model_validate(
        {
            "data": {
                "folder": "text",
                "tokens": "whitespace",
                "vocabulary": 20,
                "description": "made up",
                "licence": "none",
            },
            "model": {"size": 12, "units": [16], **model},
            "batches": {"streams": 4, "stretch": 10},
        }
    )


def task(folder: Path, **model: object) -> language.Language:
    return language.make(settings(**model), (write(folder),), 0)


def network(seed: int = 0) -> LanguageModel:
    """Whose every value matters."""
    torch.manual_seed(seed)
    net = LanguageModel(15, 12, (16,))
    for parameter in net.parameters():
        torch.nn.init.normal_(parameter, std=0.4)
    return net.eval()


def words(count: int = 9, batch: int = 2) -> torch.Tensor:
    return torch.randint(15, (count, batch), generator=torch.Generator().manual_seed(1))


def matrix(rows: int, inputs: int, rank: int | None = None, seed: int = 0) -> torch.Tensor:
    """Random, of a rank."""
    random = torch.Generator().manual_seed(seed)
    if rank is None:
        return torch.randn(rows, inputs, generator=random)
    left, right = (torch.randn(s, generator=random) for s in ((rows, rank), (rank, inputs)))
    return left @ right


def gathered(rows: int, inputs: int, columns: list[int], seed: int = 0) -> Matrix:
    return Matrix(inputs, [matrix(rows, len(columns), seed=seed)], torch.tensor(columns))
