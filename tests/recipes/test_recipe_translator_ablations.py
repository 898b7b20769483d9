"""The ablations: each variant changes what it says and nothing else; a tiny table, alike after an interruption."""

import json
from dataclasses import asdict, replace
from pathlib import Path

import pytest
from toy_language import ROWS, quiet

from attention_decoded.checkpoints import SHIPPED
from attention_decoded.data.pairs import Pair, load_splits
from attention_decoded.data.tokenization import decode
from attention_decoded.recipes import translator, translator_ablations
from attention_decoded.recipes.translator import NAME, Settings, make_tokenizers, untrained
from attention_decoded.recipes.translator_ablations import (
    BASELINE,
    FURTHER,
    SHIPPED_TABLES,
    TABLE,
    VARIANTS,
    as_they_are,
    distilled,
    english_first,
    further,
    main,
    run,
)
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
    assert len(sides) + len(inside) + (variant.loss is not sequence_loss) + (variant.data is not as_they_are) == (
        name != BASELINE
    )


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


def test_english_first_has_one_epoch_without_chinese() -> None:
    examples = [([5, 6], [7]), ([8], [9, 10])]
    data = english_first(examples, pytest.fail)
    assert data(0) == [([], [7]), ([], [9, 10])]
    assert data(1) == data(2) == examples


@pytest.fixture(scope="module")
def finished(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A translator that knows a little of the toy language."""
    folder = tmp_path_factory.mktemp("finished")
    translator.run(replace(TINY, epochs=12), out=folder / "out", work=folder / "work", pairs=corpus, report=quiet)
    return folder / "out"


def test_the_distilled_learn_the_teacher_s_words(finished: Path, corpus: Path, tmp_path: Path) -> None:
    model, source, target, _ = translator.load(finished)
    splits, *_, examples = translator.prepare(TINY, corpus)
    taught = distilled(examples, lambda: model)(0)
    assert [zh for zh, _ in taught] == [zh for zh, _ in examples]
    assert taught != examples, "it does not know everything"
    sentences = [pair.zh for pair in splits.train]
    assert [decode(target, en) for _, en in taught] == translator.translate(model, source, target, sentences)
    table = run({"distilled": VARIANTS["distilled"]}, TINY, work=tmp_path, epochs=1, pairs=corpus, teacher=finished,
                report=quiet)  # fmt: skip
    assert table["rows"][0]["data"] == "distilled"
    with pytest.raises(ValueError, match="its tokenizers are not those that these pairs and settings make"):
        run(VARIANTS, TINY, work=tmp_path / "never", epochs=1, pairs=corpus, report=quiet)
    assert not (tmp_path / "never").exists(), "it is refused before anything is trained"


def test_runs_that_go_on_begin_with_the_weights_they_are_given(finished: Path, corpus: Path, tmp_path: Path) -> None:
    only = {BASELINE: VARIANTS[BASELINE]}
    still = replace(TINY, learning_rate=1e-12)
    table = run(only, still, work=tmp_path / "still", start=finished, epochs=1, pairs=corpus, report=quiet)
    of_card = json.loads((finished / "card.json").read_text("utf-8"))["results"]["validation"]["greedy"]
    assert table["start"] == "out"
    assert table["rows"][0]["chrf"]["value"] == pytest.approx(of_card["chrf"]["value"], abs=1e-6)
    other = replace(TINY, model={**TINY.model, "d_ff": 19})
    with pytest.raises(ValueError, match=r"d_ff=17.*wants.*d_ff=19"):
        run(only, other, work=tmp_path / "other", start=finished, epochs=1, pairs=corpus, report=quiet)


def test_going_on_takes_steps_as_small_as_the_last_ones() -> None:
    base = Settings()
    ends = json.loads((SHIPPED / NAME / "card.json").read_text("utf-8"))["training"]["steps"]
    last = base.learning_rate * (base.warmup_steps / ends) ** 0.5
    assert further(base).learning_rate == pytest.approx(last, rel=0.05)


@pytest.mark.parametrize("file", SHIPPED_TABLES)
def test_the_shipped_tables(file: str) -> None:
    wanted = SHIPPED_TABLES[file]
    table = json.loads((SHIPPED / NAME / f"{file}.json").read_text("utf-8"))
    settings = Settings() if wanted.start is None else further(Settings())
    assert table["settings"] == asdict(settings), "made with the recipe as it is now"
    assert (table["start"], table["budget"]) == (wanted.start, {"minutes": None, "epochs": wanted.epochs})
    assert [row["name"] for row in table["rows"]] == list(wanted.names)
    for row in table["rows"]:
        variant = VARIANTS[row["name"]]
        assert row["changes"] == {**variant.changes, **variant.model}
        assert (row["what"], row["loss"], row["data"]) == (variant.what, variant.loss.__name__, variant.data.__name__)
        assert row["epochs"] == wanted.epochs
        for metric in ("bleu", "chrf"):
            assert row[metric]["n"] == len(load_splits().validation), "the validation split, not the test split"
            if row["name"] != BASELINE:
                found = row["against_baseline"][metric]["value"]
                assert found == pytest.approx(row[metric]["value"] - table["rows"][0][metric]["value"], abs=1e-6)


def test_the_command_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture, tmp_path: Path) -> None:
    asked = []

    def pretend(variants, settings, **options):
        asked.append({**options, "names": tuple(variants), "settings": settings})
        options["work"].mkdir(exist_ok=True, parents=True)
        (options["work"] / TABLE).write_text(f"{options['start']}\n", "utf-8")

    monkeypatch.setattr(translator_ablations, "run", pretend)
    monkeypatch.setattr(translator_ablations, "SHIPPED", tmp_path)
    work = ["--work", str(tmp_path / "work")]
    main([*work, "--epochs", "3", "r-drop", BASELINE])
    assert asked[-1]["names"] == (BASELINE, "r-drop")
    assert (asked[-1]["epochs"], asked[-1]["minutes"], asked[-1]["settings"]) == (3, None, Settings())
    main([*work, "--minutes", "3", "--start", "mine", "--out", str(tmp_path / "out.json")])
    assert (asked[-1]["names"], asked[-1]["settings"]) == (FURTHER, further(Settings()))
    assert (tmp_path / "out.json").read_text("utf-8") == "mine\n"
    (tmp_path / NAME).mkdir()
    main(work)
    for call, (file, table) in zip(asked[-3:], SHIPPED_TABLES.items(), strict=True):
        assert (call["names"], call["epochs"], call["start"]) == (tuple(table.names), table.epochs, table.start)
        assert call["work"] == tmp_path / "work" / file
        assert (tmp_path / NAME / f"{file}.json").read_text("utf-8") == f"{table.start}\n"
    for wrong in (
        ["--start", "mine"],
        ["r-drop"],
        ["--minutes", "1", "--epochs", "2"],
        ["--epochs", "0"],
        ["--minutes", "-1"],
    ):
        with pytest.raises(SystemExit):
            main(wrong)
    with pytest.raises(SystemExit):
        main(["--epochs", "1", "nothing"])
    assert "there is no variant nothing; there are: baseline, " in capsys.readouterr().err
