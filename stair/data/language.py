"""Instructions become token ids, in training and serving by the same function.

Takes words and a LanguageConfig, hands on int64 ids. A prompt is `bos, template with the lower-cased
instruction, blank, eos`; the last token is where the model's cognition is read. The surprise is the blank:
with Llama's tokenizer training text `Out: </s>` ends in ids 29871, 2, and CogACT appends exactly these
when serving, so both do it here.
"""

from __future__ import annotations

import re
import zlib
from collections.abc import Sequence
from pathlib import Path
from typing import Protocol

import numpy as np

from stair.data.config import LanguageConfig
from stair.errors import StairError, UsageError

FIELD = "{instruction}"


class Tokenizer(Protocol):
    """Words to numbers, and the numbers that stand for no word."""

    bos_id: int
    eos_id: int
    pad_id: int
    blank_id: int
    vocabulary: int
    """Ids are below this; the embedding needs at least as many rows."""

    def encode(self, text: str) -> list[int]:
        """Ids of the text alone, without bos and eos."""
        ...


class WordTokenizer:
    """Words and punctuation marks, lower-cased, each hashed to a row; needs no files.

    The same word gets the same row on every machine and in every version; two words may share one.
    """

    pad_id, bos_id, eos_id, blank_id = 0, 1, 2, 3
    specials = 4

    def __init__(self, vocabulary: int) -> None:
        if vocabulary <= self.specials:
            raise UsageError(f"a vocabulary of {vocabulary} rows has no room for words", hint="e.g. 1024")
        self.vocabulary = vocabulary

    def encode(self, text: str) -> list[int]:
        words = re.findall(r"\w+|[^\w\s]", text.lower())
        return [
            self.specials + zlib.crc32(word.encode()) % (self.vocabulary - self.specials) for word in words
        ]


class LlamaTokenizer:
    """Llama-2's own, from `tokenizer.json` in a folder, with the pad row that OpenVLA adds."""

    bos_id, eos_id, pad_id, blank_id = 1, 2, 32000, 29871
    vocabulary = 32001

    def __init__(self, folder: Path | str) -> None:
        path = Path(folder) / "tokenizer.json"
        if not path.is_file():
            raise StairError(
                f"no tokenizer at {path}",
                hint="language.tokenizer is 'words' or the folder of a Llama tokenizer",
            )
        from tokenizers import Tokenizer as Files

        try:
            self.files = Files.from_file(str(path))
        except Exception as error:  # the library raises bare Exceptions
            raise StairError(f"cannot read {path}: {error}", hint="fetch it again") from None

    def encode(self, text: str) -> list[int]:
        return self.files.encode(text, add_special_tokens=False).ids


def load_tokenizer(config: LanguageConfig) -> Tokenizer:
    """The tokenizer that a configuration names. Raises StairError when its files are missing."""
    if config.tokenizer == "words":
        return WordTokenizer(config.vocabulary)
    return LlamaTokenizer(config.tokenizer)


def prompt_ids(instruction: str, config: LanguageConfig, tokenizer: Tokenizer) -> np.ndarray:
    """The whole prompt, int64 [L]. Raises UsageError when it is longer than `max_tokens`."""
    if FIELD not in config.template:
        raise UsageError(f"language.template has no {FIELD}: {config.template!r}")
    text = config.template.replace(FIELD, instruction.strip().lower())
    ids = [tokenizer.bos_id, *tokenizer.encode(text), tokenizer.blank_id, tokenizer.eos_id]
    if len(ids) > config.max_tokens:
        shown = instruction if len(instruction) <= 60 else instruction[:60] + "…"
        raise UsageError(
            f"the prompt for '{shown}' has {len(ids)} tokens, at most {config.max_tokens} fit",
            hint=f"inputs.language.max_tokens {len(ids)}, or shorter words",
        )
    return np.array(ids, np.int64)


def pad_prompts(prompts: Sequence[np.ndarray], pad_id: int) -> tuple[np.ndarray, np.ndarray]:
    """Prompts side by side, padded on the right: int64 [B, L], and bool [B, L], True on real tokens."""
    lengths = np.array([len(prompt) for prompt in prompts])
    mask = np.arange(lengths.max(initial=0)) < lengths[:, None]
    ids = np.full(mask.shape, pad_id, np.int64)
    ids[mask] = np.concatenate(prompts)
    return ids, mask
