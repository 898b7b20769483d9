"""The ablations: each variant changes what it says and nothing else; a tiny table, alike after an interruption."""

import json
from dataclasses import asdict
from pathlib import Path

import pytest
from toy_language import ROWS, quiet

from attention_decoded.data.pairs import Pair, load_splits
from attention_decoded.recipes import translator_ablations
from attention_decoded.recipes.translator import Settings, make_tokenizers, untrained
from attention_decoded.recipes.translator_ablations import BASELINE, TABLE, VARIANTS, main, run
from attention_decoded.training import r_drop_loss, sequence_loss
from attention_decoded.transformer import Transformer

TINY = Settings(
    model={"d_model": 12, "n_heads": 3, "d_ff": 17, "n_encoder_layers": 1, "n_decoder_layers": 1, "dropout": 0.3},
    n_source_vocab=61, n_target_vocab=83, min_count=1, batch_tokens=509, learning_rate=1e-2, warmup_steps=5,
)  # fmt: skip


@pytest.mark.parametrize("name", VARIANTS)
def test_a_variant_changes_one_thing(name: str) -> None:
    base, variant = Settings(), VARIANTS[name]
    ours, theirs = asdict(base), asdict(variant.of(base))
    changed = {key: theirs[key] for key in ours if key != "model" and ours[key] != theirs[key]}
    inside = {key: value for key, value in theirs["model"].items() if ours["model"].get(key) != value}
    assert changed == variant.changes
    assert inside == variant.model
    assert base == Settings(), "the baseline stays as it is"
    sides = {key.removeprefix("n_source_").removeprefix("n_target_") for key in changed}
    assert len(sides) + len(inside) + (variant.loss is not sequence_loss) == (name != BASELINE)


def test_every_variant_can_be_built() -> None:
    halves = (row.split("\t") for row in ROWS)
    pairs = [Pair(zh, en, str(n), str(n)) for n, (zh, en) in enumerate(halves)]
    source, target = make_tokenizers(pairs, TINY)
    for variant in VARIANTS.values():
        settings = variant.of(TINY)
        model, config = untrained(settings, source, target)
        assert isinstance(model, Transformer)
        assert model.config.dropout == settings.model["dropout"]
        assert model.config.norm == config.get("norm", "pre") == settings.model.get("norm", "pre")


@pytest.mark.parametrize("name", ["vocabulary-3k", "vocabulary-8k"])
def test_the_book_s_sentences_fill_the_vocabularies(name: str) -> None:
    """Chinese has more characters than fit into a vocabulary that would be small for English."""
    settings = VARIANTS[name].of(Settings())
    source, target = make_tokenizers(load_splits().train, settings)
    assert (source.get_vocab_size(), target.get_vocab_size()) == (settings.n_source_vocab, settings.n_target_vocab)


def test_the_baseline_comes_first() -> None:
    assert next(iter(VARIANTS)) == BASELINE
    assert VARIANTS["r-drop"].loss is r_drop_loss


def test_a_tiny_table(corpus: Path, tmp_path: Path) -> None:
    chosen = {name: VARIANTS[name] for name in (BASELINE, "no-average", "r-drop")}
    said: list[str] = []
    table = run(chosen, TINY, work=tmp_path, epochs=2, pairs=corpus, report=said.append)
    assert table == json.loads((tmp_path / TABLE).read_text("utf-8"))
    assert [row["name"] for row in table["rows"]] == list(chosen)
    assert len(said) == 3
    first, *others = table["rows"]
    assert "against_baseline" not in first
    for row in table["rows"]:
        assert row["epochs"] == 2
        assert row["steps"] == first["steps"], "the same batches, as often"
        for metric in ("bleu", "chrf"):
            assert row[metric]["low"] <= row[metric]["value"] <= row[metric]["high"]
    for row in others:
        for metric in ("bleu", "chrf"):
            difference = row["against_baseline"][metric]
            assert difference["value"] == pytest.approx(row[metric]["value"] - first[metric]["value"], abs=1e-6)
    assert others[1]["loss"] == "r_drop_loss"
    # Run again: what is done is only translated again.
    assert run(chosen, TINY, work=tmp_path, epochs=2, pairs=corpus, report=quiet) == table


def test_minutes_are_a_budget_too(corpus: Path, tmp_path: Path) -> None:
    table = run({BASELINE: VARIANTS[BASELINE]}, TINY, work=tmp_path, minutes=1e-6, pairs=corpus, report=quiet)
    assert table["rows"][0]["steps"] == 1
    for wrong in ({}, {"minutes": 1.0, "epochs": 2}):
        with pytest.raises(ValueError, match="give one of them"):
            run({}, TINY, work=tmp_path, pairs=corpus, **wrong)


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    asked = {}

    def pretend(variants, settings, **options):
        asked.update(options, names=list(variants), settings=settings)

    monkeypatch.setattr(translator_ablations, "run", pretend)
    main(["--epochs", "3", "r-drop", BASELINE])
    assert asked["names"] == [BASELINE, "r-drop"]
    assert (asked["epochs"], asked["minutes"], asked["settings"]) == (3, None, Settings())
    (tmp_path / "work").mkdir()
    (tmp_path / "work" / TABLE).write_text("{}\n", "utf-8")
    main(["--epochs", "3", "--work", str(tmp_path / "work"), "--out", str(tmp_path / "out.json")])
    assert asked["names"] == list(VARIANTS)
    assert (tmp_path / "out.json").read_text("utf-8") == "{}\n"
    for wrong in ([], ["--minutes", "1", "--epochs", "2"], ["--epochs", "0"], ["--minutes", "-1"]):
        with pytest.raises(SystemExit):
            main(wrong)
    with pytest.raises(SystemExit):
        main(["--epochs", "1", "nothing"])
    assert "there is no variant nothing; there are: baseline, " in capsys.readouterr().err
