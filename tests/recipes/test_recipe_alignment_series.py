"""The series along training: what is looked at, in which order rows are paired, what is kept; a tiny run of it all."""

from dataclasses import replace
from itertools import product
from pathlib import Path

import pytest
import torch
from torch.testing import assert_close
from toy_language import MORE_ROWS, quiet

from attention_decoded.alignment import compare
from attention_decoded.checkpoints import SHIPPED, CheckpointError
from attention_decoded.data.pairs import Pair, load_splits
from attention_decoded.data.tokenization import BOS, EOS, UNK
from attention_decoded.recipes import alignment_series, translator
from attention_decoded.recipes.alignment_series import (
    FIGURES,
    PAIRINGS,
    PICTURED,
    Settings,
    ceilings_of,
    choose_rows,
    figures_of,
    load,
    look,
    main,
    pictures_of,
    read_snapshot,
    rounded,
    run,
    snapshot_file,
)
from attention_decoded.training import ResumeError
from attention_decoded.transformer import Transformer, build_transformer

SIZES = {"d_model": 6, "n_heads": 2, "d_ff": 11, "n_encoder_layers": 2, "n_decoder_layers": 2, "dropout": 0.1}
TINY = Settings(
    base=translator.Settings(
        model=SIZES, n_source_vocab=61, n_target_vocab=83, min_count=1, batch_tokens=509, learning_rate=1e-2,
        warmup_steps=5, ema=None,
    ),
    seeds=(3, 5), steps=(0, 5), n_rows=12, n_bootstrap=20,
)  # fmt: skip


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("more") / "more.tsv"
    path.write_text("\n".join(MORE_ROWS), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def done(corpus: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A whole run at once: its folders `out` and `work`."""
    folder = tmp_path_factory.mktemp("whole")
    run(TINY, out=folder / "out", work=folder / "work", pairs=corpus, report=quiet)
    return folder


@pytest.fixture
def model() -> Transformer:
    torch.manual_seed(7)
    return build_transformer({"n_source_vocab": 23, "n_target_vocab": 29, **SIZES}).eval()


# ── what is looked at ───────────────────────────────────────────────────────────────────────────


def test_rows_are_sentences_that_occur_once_whatever_their_order(corpus: Path) -> None:
    splits, source, target, _ = translator.prepare(TINY.base, corpus)
    pairs = [*splits.validation, Pair(splits.validation[0].zh, "Again.", "a", "b")]
    chosen, ids = choose_rows(pairs, source, target, 9, 64)
    again, _ = choose_rows(pairs[::-1], source, target, 9, 64)
    assert chosen == again
    assert len({pair.zh for pair in chosen}) == len({pair.en for pair in chosen}) == 9
    assert splits.validation[0].zh not in {pair.zh for pair in chosen}
    assert ids[4] == (source.encode(chosen[4].zh).ids, target.encode(chosen[4].en).ids)
    assert choose_rows(pairs, source, target, 5, 64)[0] == chosen[:5]
    with pytest.raises(ValueError, match="n_rows=9"):
        choose_rows(pairs, source, target, 9, 2)


def test_vectors_are_means_of_the_models_own_states(model: Transformer) -> None:
    """One sentence after the other, without padding, by the model's own methods."""
    rows = [([7, 8, 9], [10, 11]), ([12], [13, UNK, 15, 16, 17]), ([5, 6], [9])]
    found = look(model, rows)
    assert {name: tuple(x.shape) for name, x in found.items()} == {
        "encoder": (3, 3, 6), "own": (3, 3, 6), "blind": (3, 3, 6), "other": (3, 3, 6)
    }  # fmt: skip
    shown = {"own": [row[0] for row in rows], "blind": [[], [], []], "other": [[12], [5, 6], [7, 8, 9]]}
    with torch.no_grad():
        for i, (source, target) in enumerate(rows):
            memory, _ = model.encode(torch.tensor([[*source, EOS]]))
            assert_close(found["encoder"][-1, i], memory[0, : len(source)].mean(0))
            vectors = model.source(torch.tensor(source)) * 6**0.5
            placed = model.source_positions.add(vectors[None], torch.arange(len(source)))
            assert_close(found["encoder"][0, i], placed[0].mean(0))
            for view, sources in shown.items():
                states = model.states(torch.tensor([[*sources[i], EOS]]), torch.tensor([[BOS, *target]]))
                assert_close(found[view][-1, i], states[0, 1:].mean(0))  # without BOS
    assert_close(found["own"][0], found["blind"][0])  # nothing is looked at yet
    assert not torch.allclose(found["own"][1], found["blind"][1])


def test_watching_leaves_nothing_behind(model: Transformer) -> None:
    look(model, [([7], [8]), ([9], [10])])
    hooks = [m for m in model.modules() if m._forward_hooks or m._forward_pre_hooks]
    assert hooks == []


# ── figures and pictures ────────────────────────────────────────────────────────────────────────


@pytest.fixture
def looks() -> dict:
    """Encoders' rows by chance; the decoder repeats, turned, what it looks at, so that "read" must fail."""
    generator = torch.Generator().manual_seed(2)
    turn = torch.linalg.qr(torch.randn(5, 5, generator=generator)).Q
    found = {}
    for seed, step in product((0, 4), (0, 10)):
        x = torch.randn(2, 40, 5, generator=generator)
        blind = torch.randn(2, 40, 5, generator=generator)
        found[seed, step] = {"encoder": x, "own": x @ turn, "blind": blind, "other": x.roll(-1, 1) @ turn}
    return found


def test_every_pairing_is_compared_as_it_is_called(looks: dict) -> None:
    figures = figures_of(looks, 20)
    assert len(figures) == 4 * len(PAIRINGS) * 2
    for row in figures:
        hit, cka = row["rotated_x_to_y"]["value"], row["cka"]["value"]
        if row["pairing"] in {"own", "seen"}:
            assert (hit, cka) == (1.0, 1.0)
            assert row["unexplained"]["value"] < 1e-6
        else:
            assert hit < 0.5
            assert cka < 0.5
        assert row["n"] == 40
    last = {(4, 10): looks[4, 10]}
    assert figures_of(last, 20) == figures[-2 * len(PAIRINGS) :]  # to the digit, whatever was compared before
    x, y = looks[0, 10]["encoder"][1], looks[0, 10]["blind"][1]
    row = next(r for r in figures if (r["seed"], r["step"], r["pairing"], r["level"]) == (0, 10, "blind", 1))
    ours = compare(x, y, torch.Generator().manual_seed(1))
    assert row["cka"]["value"] == pytest.approx(ours.cka.value, abs=1e-4)


def test_ceilings_compare_every_two_seeds(looks: dict) -> None:
    looks[4, 10]["encoder"] = looks[0, 10]["encoder"] * 3
    rows = ceilings_of(looks, 20)
    assert len(rows) == 2 * 1 * 3
    assert all(row["seeds"] == [0, 4] for row in rows)
    values = {(row["step"], row["side"]): row["cka"]["value"] for row in rows}
    assert values[10, "encoder"] == 1
    assert values[0, "encoder"] < 0.5


def test_pictures_are_projections_that_do_not_jump(looks: dict) -> None:
    pictures = pictures_of(looks, (0, 4), (0, 10))
    assert pictures.shape == (2, 2, 2, 2, 40, 2)
    assert_close(pictures.mean((3, 4)), torch.zeros(2, 2, 2, 2), atol=1e-5, rtol=0)
    assert_close(pictures.square().sum(-1).mean((3, 4)), torch.ones(2, 2, 2))
    # The plane holds as much variance as any, whichever way it is turned: that of the two largest singular values.
    x = torch.cat([looks[4, 0]["encoder"][-1], looks[4, 0]["blind"][-1]])
    x = x - x.mean(0)
    s = torch.linalg.svdvals(x)
    seen = pictures[1, 0, PICTURED.index("blind")].reshape(80, 2)
    assert_close(torch.linalg.svdvals(seen) * s[0] / torch.linalg.svdvals(seen)[0], s[:2], rtol=1e-3, atol=1e-3)
    # Step 0 with the very points of step 10, mirrored: the picture must be that of step 10.
    looks[0, 0] = {name: -tensor for name, tensor in looks[0, 10].items()}
    still = pictures_of(looks, (0,), (0, 10))
    assert_close(still[0, 0], still[0, 1], atol=1e-4, rtol=0)


def test_figures_are_rounded_and_nothing_else() -> None:
    assert rounded({"a": 0.123456, "b": {"c": 2, "d": None}, "e": "x"}) == {
        "a": 0.1235, "b": {"c": 2, "d": None}, "e": "x"
    }  # fmt: skip


# ── the recipe ──────────────────────────────────────────────────────────────────────────────────


def test_a_run_ends_to_end(done: Path, corpus: Path) -> None:
    series = load(done / "out")
    assert (series.seeds, series.steps) == ([3, 5], [0, 5])
    assert len(series.figures) == 2 * 2 * len(PAIRINGS) * 3
    assert len(series.learned) == 2 * 2
    assert series.pictures.shape == (2, 2, 2, 2, 12, 2)
    assert {name: tuple(x.shape) for name, x in series.vectors.items()} == {
        f"{when}.{side}": (12, 6) for when in ("first", "last") for side in ("encoder", *PICTURED)
    }
    perplexities = [row["perplexity"]["value"] for row in series.learned if row["seed"] == 5]
    assert perplexities[0] > perplexities[1], "it learns"
    splits = load_splits(corpus)
    numbers = {(pair.zh_id, pair.en_id) for pair in splits.validation}
    assert len(series.rows) == 12
    assert set(series.rows) <= numbers
    assert len(series.card["results"]["last_step"]) == 2 * len(PAIRINGS)
    # No sentence of the data is in any file.
    texts = b"".join(path.read_bytes() for path in (done / "out").iterdir())
    assert not any(side.encode() in texts for pair in splits.validation for side in (pair.zh, pair.en))


def test_what_is_shipped_is_what_was_seen(done: Path, corpus: Path) -> None:
    """The first snapshot is that of the untrained model of its seed."""
    _, source, target, _ = translator.prepare(TINY.base, corpus)
    model, _ = translator.untrained(replace(TINY.base, seed=5), source, target)
    assert isinstance(model, Transformer)
    sample, rows = choose_rows(load_splits(corpus).validation, source, target, 12, 64)
    found, learned = read_snapshot(snapshot_file(done / "work", 5, 0))
    for name, tensor in look(model.eval(), rows).items():
        assert_close(found[name], tensor.half().float())
    series = load(done / "out")
    assert series.rows == [(pair.zh_id, pair.en_id) for pair in sample]
    assert rounded(learned) == {name: series.learned[2][name] for name in ("bleu", "perplexity")}
    assert_close(series.vectors["last.own"], read_snapshot(snapshot_file(done / "work", 3, 5))[0]["own"][-1])


def test_a_run_that_rests_goes_on_to_the_same_end(done: Path, corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    places = {"out": tmp_path / "out", "work": tmp_path / "work", "pairs": corpus, "report": said.append}
    assert run(TINY, **places, stop_after_minutes=1e-9) is None
    assert "rests at step 1 of 5" in said[-1]
    assert not (tmp_path / "out").exists()
    run(TINY, **places)
    assert (tmp_path / "out" / FIGURES).read_bytes() == (done / "out" / FIGURES).read_bytes()
    whole, resumed = load(done / "out"), load(tmp_path / "out")
    assert torch.equal(whole.pictures, resumed.pictures)
    with pytest.raises(ResumeError, match="looks"):
        run(replace(TINY, steps=(0, 3, 5)), **places)
    snapshot_file(tmp_path / "work", 5, 5).write_bytes(b"half a")
    with pytest.raises(CheckpointError, match="Delete the folder"):
        run(TINY, **places)


def test_senseless_settings_are_refused() -> None:
    for steps in ((0,), (5, 2), (0, 0, 4), (-1, 3)):
        with pytest.raises(ValueError, match="steps="):
            replace(TINY, steps=steps)
    with pytest.raises(ValueError, match="levels pair only"):
        replace(TINY, base=replace(TINY.base, model={**SIZES, "n_encoder_layers": 1}))
    for seeds in ((), (1, 1)):
        with pytest.raises(ValueError, match="seeds="):
            replace(TINY, seeds=seeds)


def test_the_command_line(monkeypatch: pytest.MonkeyPatch) -> None:
    asked = {}
    monkeypatch.setattr(alignment_series, "run", lambda settings, **options: asked.update(options, settings=settings))
    main(["--out", "o", "--pairs", "mine.tsv", "--minutes", "2.5"])
    assert asked == {
        "settings": Settings(), "out": Path("o"), "work": Path("runs/alignment-series"), "pairs": Path("mine.tsv"),
        "device": "cpu", "stop_after_minutes": 2.5,
    }  # fmt: skip
    with pytest.raises(SystemExit) as left:
        main(["--minutes", "soon"])
    assert left.value.code == 2


def test_a_models_checkpoint_is_no_series() -> None:
    with pytest.raises(CheckpointError, match="no series"):
        load("masked-lm")


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────


def test_the_shipped_series_is_small_and_whole() -> None:
    folder = SHIPPED / alignment_series.NAME
    series, settings = load(), Settings()
    assert sum(path.stat().st_size for path in folder.iterdir()) <= 1_500_000
    assert (series.seeds, series.steps) == (list(settings.seeds), list(settings.steps))
    assert len(series.seeds) >= 3
    assert len(series.steps) >= 8
    bleu = {(row["seed"], row["step"]): row["bleu"]["value"] for row in series.learned}
    assert all(bleu[seed, series.steps[-1]] > bleu[seed, series.steps[0]] + 1 for seed in series.seeds)
    # The figures are those of the vectors.
    for when, step in (("first", series.steps[0]), ("last", series.steps[-1])):
        generator = torch.Generator().manual_seed(0)
        found = compare(series.vectors[f"{when}.encoder"], series.vectors[f"{when}.own"], generator)
        assert found.x_to_y is not None
        rows = [r for r in series.figures if (r["seed"], r["step"], r["pairing"]) == (series.seeds[0], step, "own")]
        top = max(rows, key=lambda row: row["level"])
        assert top["cka"]["value"] == pytest.approx(found.cka.value, abs=1e-3)
        assert top["x_to_y"]["value"] == pytest.approx(found.x_to_y.value, abs=1e-3)
    assert all(number.isdigit() for row in series.rows for number in row)
