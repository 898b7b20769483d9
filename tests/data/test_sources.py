"""Every source says whom to thank, and every file that the book depends on is checked."""

from pathlib import Path

import pytest

from attention_decoded.data.sources import SOURCES, TATOEBA, WIKIPEDIA, Source, read_source
from attention_decoded.files import sha256, write_atomically


@pytest.mark.parametrize("source", SOURCES, ids=lambda source: source.package + ":" + source.title[:11])
def test_attribution_names_title_creators_licence_and_changes(source: Source) -> None:
    line = source.attribution()
    for part in (source.title, source.creators, source.licence, source.licence_url, source.homepage, source.changes):
        assert part
        assert part in line


def test_the_licences_that_ask_for_it_state_changes() -> None:
    assert all(source.changes != "none" for source in SOURCES if source.licence.startswith("CC BY"))


@pytest.mark.parametrize("source", [s for s in SOURCES if s.file and s is not WIKIPEDIA], ids=lambda s: s.file)
def test_files_are_the_ones_the_book_was_written_with(source: Source) -> None:
    assert source.sha256 is not None
    assert sha256(read_source(source)) == source.sha256


def test_tatoeba_is_found_whole() -> None:
    assert read_source(TATOEBA).startswith(b"\xef\xbb\xbf")
    assert read_source(TATOEBA).count(b"\n") == 56_578


def test_failed_write_leaves_the_old_file_and_no_litter(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    path = tmp_path / "file"
    write_atomically(path, b"old")

    def full(_: int) -> None:
        raise OSError("disk full")

    monkeypatch.setattr("os.fsync", full)
    with pytest.raises(OSError, match="disk full"):
        write_atomically(path, b"new")
    assert path.read_bytes() == b"old"
    assert [p.name for p in tmp_path.iterdir()] == ["file"]
