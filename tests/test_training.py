"""The training loop: its losses and batches by definition, and that nothing but the step's number decides a step."""

import dataclasses
import errno
import json
import math
import os
import signal
import subprocess
import sys
import time
from functools import partial
from pathlib import Path

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from safetensors import safe_open
from safetensors.torch import load_file
from tiny_training import SETTINGS, Tiny, exact, examples, start, tiny
from torch import nn
from torch.testing import assert_close

from attention_decoded import training
from attention_decoded.data.tokenization import BOS, EOS, PAD
from attention_decoded.training import (
    ResumeError,
    Run,
    TrainingSettings,
    bucketed_batches,
    collate_pairs,
    cross_entropy,
    decayed,
    fingerprint,
    lengths_of,
    pad_rows,
    r_drop_loss,
    rate,
    sequence_loss,
    smoothed_targets,
    train,
)
from attention_decoded.transformer import DecoderOnly, DecoderOnlyConfig, Transformer, TransformerConfig

HERE = Path(__file__).parent


def changed(**fields) -> TrainingSettings:
    return dataclasses.replace(SETTINGS, **fields)


def same_weights(one: nn.Module, other: nn.Module) -> bool:
    a, b = one.state_dict(), other.state_dict()
    return a.keys() == b.keys() and all(torch.equal(a[name], b[name]) for name in a)


# ── losses ──────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("smoothing", [0.0, 0.1, 0.7])
def test_pitfall_15_smoothed_rows_sum_to_one_and_the_loss_is_their_cross_entropy(smoothing: float) -> None:
    targets = torch.randint(1, 13, (5, 7))
    targets[2, 3:] = PAD
    rows = smoothed_targets(targets, 13, smoothing)
    assert_close(rows.sum(-1), torch.ones(5, 7))
    assert_close(rows.gather(-1, targets[..., None]), torch.full((5, 7, 1), 1 - smoothing + smoothing / 13))
    logits = torch.randn(5, 7, 13)
    real = targets != PAD
    loss, n = cross_entropy(logits, targets, smoothing)
    assert n == 31
    assert_close(loss, -(rows * logits.log_softmax(-1)).sum(-1)[real].sum())


def test_pitfall_15_pad_counts_in_nothing_and_everything_is_finite() -> None:
    targets = torch.tensor([[3, 4, PAD], [5, PAD, PAD]])
    logits = 1e4 * torch.randn(2, 3, 11)
    for dtype in (torch.float32, torch.bfloat16):
        given = logits.to(dtype).requires_grad_()
        loss, n = cross_entropy(given, targets, 0.1)
        (gradient,) = torch.autograd.grad(loss, given)
        assert n == 3
        assert loss.isfinite()
        assert gradient.isfinite().all()
        assert not gradient[targets == PAD].any()
        other = given.detach().clone()
        other[targets == PAD] = math.nan  # whatever stands there
        assert cross_entropy(other, targets, 0.1)[0] == loss
    nothing, n = cross_entropy(logits, torch.zeros_like(targets), 0.1)
    assert (nothing, n) == (0, 0)


def test_smoothing_by_hand() -> None:
    """Two entries, logits 0 and log 3: p = (1/4, 3/4); ε = 0.2 asks for (0.1, 0.9)."""
    loss, _ = cross_entropy(torch.tensor([[0.0, math.log(3)]]), torch.tensor([1]), 0.2)
    assert_close(loss.item(), 0.1 * math.log(4) + 0.9 * math.log(4 / 3), rtol=1e-6, atol=1e-6)


class Forward(nn.Module):
    """A Transformer of which only the forward pass is known."""

    def __init__(self, transformer: Transformer):
        super().__init__()
        self.transformer = transformer

    def forward(self, source: torch.Tensor, target_in: torch.Tensor) -> torch.Tensor:
        return self.transformer(source, target_in)


@pytest.fixture
def transformer() -> Transformer:
    return Transformer(
        TransformerConfig(n_source_vocab=23, n_target_vocab=19, d_model=14, n_heads=2, d_ff=17, n_encoder_layers=1,
                          n_decoder_layers=1, dropout=0.3)
    )  # fmt: skip


def test_output_at_real_positions_alone_is_the_same_loss_and_gradient(transformer: Transformer) -> None:
    batch = collate_pairs([([5, 6, 7], [8, 9]), ([10], [11, 12, 13, 14])])
    transformer.eval()
    packed, n = sequence_loss(transformer, batch, 0.1)
    gradients = torch.autograd.grad(packed, list(transformer.parameters()))
    whole, m = sequence_loss(Forward(transformer), batch, 0.1)
    assert n == m == 3 + 5
    assert_close(packed, whole)
    assert_close(gradients, torch.autograd.grad(whole, list(transformer.parameters())))


def test_r_drop_is_the_mean_loss_and_the_two_divergences() -> None:
    """Half of eq. 4 of arXiv:2106.14448v2, the two passes made visible by a model that is two models."""

    class Halves(nn.Module):
        def forward(self, ids: torch.Tensor) -> torch.Tensor:
            table = torch.linspace(-1, 2, 2 * 11 * 11).view(2, 11, 11).sin() * 3
            return torch.cat([table[0][ids[: len(ids) // 2]], table[1][ids[len(ids) // 2 :]]])

    ids, targets = torch.tensor([[3, 4, 5], [6, 7, 2]]), torch.tensor([[4, 5, 6], [7, PAD, PAD]])
    p, q = Halves()(torch.cat([ids, ids])).log_softmax(-1).chunk(2)
    real = targets != PAD
    one, two = (cross_entropy(x, targets, 0.1)[0] for x in (p, q))
    kl = sum(F.kl_div(a[real], b[real], reduction="sum", log_target=True) for a, b in ((p, q), (q, p)))
    loss, n = r_drop_loss(Halves(), [ids, targets], 0.1, alpha=3.0)
    assert n == 4
    assert_close(loss, (one + two) / 2 + 3 / 4 * kl)


def test_r_drop_without_dropout_is_the_plain_loss(transformer: Transformer) -> None:
    batch = collate_pairs([([5, 6, 7], [8, 9]), ([10], [11, 12])])
    plain, n = sequence_loss(transformer.eval(), batch)
    loss, m = r_drop_loss(transformer, batch, alpha=5.0)
    assert n == m
    assert_close(loss, plain)
    assert r_drop_loss(transformer.train(), batch, alpha=5.0)[0] > r_drop_loss(transformer.eval(), batch)[0]


# ── batches ─────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("sides", [1, 2, 3])
@pytest.mark.parametrize("seed", [None, 5])
def test_batches_hold_every_example_once_and_keep_to_their_cost(sides: int, seed: int | None) -> None:
    lengths = [tuple(side) for side in torch.randint(1, 29, (499, sides)).tolist()] + [(61,) * sides]
    generator = None if seed is None else torch.Generator().manual_seed(seed)
    given = [side for (side,) in lengths] if sides == 1 else lengths
    made = bucketed_batches(given, 59 * sides, generator)
    assert sorted(i for batch in made for i in batch) == list(range(500))
    cost = 0
    for batch in made:
        longest = [max(lengths[i][side] for i in batch) for side in range(sides)]
        cost += len(batch) * sum(longest)
        assert len(batch) * sum(longest) <= 59 * sides or batch == [499]  # too long for any batch: it stands alone
    assert sum(map(sum, lengths)) / cost > (0.95, 0.85, 0.7)[sides - 1]  # little is padding


def test_batches_come_from_their_generator_alone() -> None:
    lengths = [3] * 101 + [7] * 101

    def made(seed: int) -> list[list[int]]:
        torch.rand(3)
        return bucketed_batches(lengths, 21, torch.Generator().manual_seed(seed))

    assert made(0) == made(0)
    assert {frozenset(batch) for batch in made(0)} != {frozenset(batch) for batch in made(1)}  # they mix anew
    first = [lengths[batch[0]] for batch in made(0)]
    assert first != sorted(first)  # and do not come in order of length
    assert bucketed_batches([], 21) == []


def test_a_pair_s_batch_by_hand() -> None:
    source, target_in, target_out = collate_pairs([([5, 6], [7]), ([8], [9, 10])])
    assert source.tolist() == [[5, 6, EOS], [8, EOS, PAD]]
    assert target_in.tolist() == [[BOS, 7, PAD], [BOS, 9, 10]]
    assert target_out.tolist() == [[7, EOS, PAD], [9, 10, EOS]]
    assert pad_rows([[1], [2, 3]]).tolist() == [[1, PAD], [2, 3]]
    for pair in (([5, 6], [7]), [[5, 6], [7]], (torch.zeros(2), torch.zeros(1)), [np.zeros(2), np.zeros(1)]):
        assert lengths_of(pair) == (2, 1), "from JSON pairs come as lists"
    assert lengths_of(["ab", "c", "d"]) == 3
    assert lengths_of([5, 6, 7]) == lengths_of((5, 6, 7)) == lengths_of(torch.zeros(3)) == 3


def test_fingerprints_tell_data_apart() -> None:
    some = [([5, 6], [7]), ([8], [9])]
    assert fingerprint(some) == fingerprint([[[5, 6], [7]], [[8], [9]]])
    others = [some[::-1], some[:1], [([5], [6, 7]), ([8], [9])], [([5, 6, 7],), ([8], [9])], [*some, ([], [])]]
    assert len({fingerprint(x) for x in (some, *others)}) == 6
    x = torch.rand(3, 5)
    assert fingerprint([(x, 1)]) == fingerprint([(x.clone(), 1)])
    assert len({fingerprint([x]), fingerprint([x.view(5, 3)]), fingerprint([x + 1]), fingerprint([x.double()])}) == 4
    with pytest.raises(TypeError, match=r"fingerprint of a object: give train\(data=…\)"):
        fingerprint([object()])


# ── the learning rate, what decays, precision ───────────────────────────────────────────────────


def test_schedules() -> None:
    def at(schedule: str, step: int, progress: float) -> float:
        return rate(changed(schedule=schedule, learning_rate=2.0, warmup_steps=100), step, progress)

    for schedule in ("inverse_sqrt", "cosine", "linear", "constant"):
        assert at(schedule, 1, 0.0) == pytest.approx(0.02)
        assert at(schedule, 50, 0.0) == pytest.approx(1.0)
        assert at(schedule, 100, 0.0) == 2
    assert at("inverse_sqrt", 400, 0.9) == 1  # the paper's shape: step^−½ after the warm-up, whatever the end
    assert at("constant", 400, 0.9) == 2
    assert at("linear", 400, 0.75) == 0.5
    assert at("cosine", 400, 0.75) == pytest.approx(1 + math.cos(0.75 * math.pi))
    assert at("linear", 400, 1.0) == at("cosine", 400, 1.0) == 0


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"epochs": None}, "steps, epochs or minutes"),
        ({"batch_tokens": 0}, "batch_tokens=0"),
        ({"micro_tokens": -3}, "micro_tokens=-3"),
        ({"schedule": "cosin"}, "'cosin' is none of inverse_sqrt, cosine"),
        ({"precision": "fp16"}, "'fp16' is none of auto, fp32, bf16"),
        ({"ema": 1.0}, r"ema=1\.0"),
    ],
)
def test_wrong_settings_are_named(wrong: dict, message: str) -> None:
    settings = changed()
    for name, value in wrong.items():
        object.__setattr__(settings, name, value)  # past the type checks that only the tests have
    with pytest.raises(ValueError, match=message):
        settings.__post_init__()


def test_matrices_decay_and_tables_biases_norms_do_not(transformer: Transformer) -> None:
    transformer.encoder[0].attention.to_q.weight.requires_grad_(False)
    names = {id(parameter): name for name, parameter in transformer.named_parameters()}
    shrink, keep = ([names[id(parameter)] for parameter in group] for group in decayed(transformer))
    assert {"encoder.0.attention.to_k.weight", "decoder.0.ff.0.weight"} <= set(shrink)
    assert {"source.weight", "target.weight", "bias", "encoder_norm.weight", "decoder.0.ff.0.bias"} <= set(keep)
    assert sorted([*shrink, *keep]) == sorted(set(names.values()) - {"encoder.0.attention.to_q.weight"})


def test_bf16_computes_coarsely_and_keeps_fine_weights() -> None:
    coarse, fine = start(changed(precision="bf16")), start()
    one, other = next(coarse), next(fine)
    assert one.loss != other.loss
    assert one.loss == pytest.approx(other.loss, rel=2e-2)
    assert {tensor.dtype for tensor in coarse.model.state_dict().values()} == {torch.float32}


class Slowed(Tiny):
    """A model for which one precision is slow, and which counts its calls."""

    slow = False

    def __init__(self):
        super().__init__()
        self.register_buffer("calls", torch.zeros(()))

    def forward(self, source: torch.Tensor, target_in: torch.Tensor) -> torch.Tensor:
        self.calls += 1
        if torch.is_autocast_enabled("cpu") is self.slow:
            time.sleep(0.05)
        return super().forward(source, target_in)


def test_auto_precision_is_what_was_measured_faster_and_stays(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(training, "has_bf16", lambda device: True)

    def run(slow: bool, work: Path | None = None) -> Run:
        model = Slowed()
        model.load_state_dict(tiny().state_dict(), strict=False)
        model.slow = slow
        settings = changed(precision="auto", micro_tokens=None)
        run = train(model, examples, collate_pairs, sequence_loss, settings, work=work)
        assert model.calls == run.step  # measuring left no trace
        return run

    assert run(slow=True).precision == "fp32"
    first = run(slow=False, work=tmp_path)
    assert first.precision == "bf16"
    assert exact([next(first)]) == exact([next(start(changed(precision="bf16", micro_tokens=None)))])
    first.save()
    assert run(slow=True, work=tmp_path).precision == "bf16"  # as the run began, so it goes on
    monkeypatch.setattr(training, "has_bf16", lambda device: False)
    assert run(slow=False).precision == "fp32"


# ── steps ───────────────────────────────────────────────────────────────────────────────────────


def test_records_account_for_every_real_token() -> None:
    run = start()
    records = list(run)
    assert run.finished
    assert [r.step for r in records] == list(range(1, len(records) + 1))
    assert [r.epoch for r in records if r.epoch_ends] == [0, 1, 2]
    for epoch in range(3):
        tokens = sum(len(target) + 1 for _, target in examples(epoch))  # + 1: <eos> is a target, <bos> and pad are not
        assert sum(r.tokens for r in records if r.epoch == epoch) == tokens
    assert records[0].learning_rate == pytest.approx(3e-3 / 5)
    assert records[-1].learning_rate < 1e-4
    assert run.seconds == pytest.approx(sum(r.seconds for r in records))
    assert list(run) == []


def test_it_learns() -> None:
    """Every pair of this language repeats one token: a guess at random costs log 18, knowing it costs little."""

    def pairs(epoch: int) -> list:
        return [([token], [token] * (1 + token % 3)) for token in range(5, 23)] * 3

    model = tiny(dropout=0.0, d_model=13)
    records = list(train(model, pairs, collate_pairs, sequence_loss, changed(epochs=20, learning_rate=3e-2)))
    assert records[0].loss > math.log(18)
    assert records[-1].loss < 1.0  # smoothing's own entropy is 0.6


@pytest.mark.parametrize("micro_tokens", [1, 37, 61])
def test_pitfall_16_accumulation_equals_one_big_batch(micro_tokens: int) -> None:
    """Micro-batches of unequal numbers of tokens: the average is over tokens, and one step is taken for all."""
    calls: list[int] = []

    def counting(model: nn.Module, batch: tuple) -> tuple[torch.Tensor, int]:
        calls.append(int((batch[-1] != PAD).sum()))
        return sequence_loss(model, batch)

    def go(micro: int | None) -> tuple[list, nn.Module]:
        calls.clear()
        model = tiny(dropout=0.0)
        run = train(model, examples, collate_pairs, counting, changed(micro_tokens=micro, epochs=1))
        return [(r.loss, r.gradient_norm, r.tokens) for r in run], model

    one, model = go(None)
    assert len(calls) == len(one)
    many, accumulated = go(micro_tokens)
    assert len(calls) > 1.2 * len(one)
    assert len(set(calls)) > 3  # unequal, else a mean of means would do
    assert_close(torch.tensor(many), torch.tensor(one), rtol=1e-5, atol=1e-6)
    assert_close(accumulated.state_dict(), model.state_dict(), rtol=1e-4, atol=1e-6)


@pytest.mark.parametrize("share", [0.1, 0.7, 3.0])
def test_gradient_is_that_of_the_mean_and_is_clipped(share: float) -> None:
    """`share`: the clip as a share of the gradient's length; at 3 nothing is clipped."""
    batches = []
    free = next(train(tiny(dropout=0.0), examples, collate_pairs, sequence_loss, changed(clip=None))).gradient_norm

    def keeping(pairs: list) -> tuple:
        batches.append(collate_pairs(pairs))
        return batches[-1]

    model, before = tiny(dropout=0.0), tiny(dropout=0.0)
    loss = train(model, examples, keeping, sequence_loss, changed(clip=share * free, micro_tokens=None))
    record = next(loss)
    total, n = sequence_loss(before, batches[-1])
    (total / n).backward()
    exact = nn.utils.clip_grad_norm_(before.parameters(), share * free)
    assert record.gradient_norm == pytest.approx(float(exact), rel=1e-5)
    for clipped, expected in zip(model.parameters(), before.parameters(), strict=True):
        assert_close(clipped.grad, expected.grad, rtol=1e-4, atol=1e-8)


def test_first_update_is_adamw_s() -> None:
    batches = []

    def keeping(pairs: list) -> tuple:
        batches.append(collate_pairs(pairs))
        return batches[-1]

    settings = changed(micro_tokens=None, weight_decay=0.5, warmup_steps=0)
    model, reference = tiny(dropout=0.0), tiny(dropout=0.0)
    run = train(model, examples, keeping, sequence_loss, settings)
    shrink, keep = decayed(reference)
    optimizer = torch.optim.AdamW([{"params": shrink}, {"params": keep, "weight_decay": 0.0}], lr=3e-3,
                                  betas=(0.9, 0.98), weight_decay=0.5)  # fmt: skip
    next(run)
    total, n = sequence_loss(reference, batches[-1])
    (total / n).backward()
    nn.utils.clip_grad_norm_(reference.parameters(), 1.0)
    optimizer.step()
    assert_close(model.state_dict(), reference.state_dict(), rtol=1e-5, atol=1e-6)


def test_moving_average_by_its_formula() -> None:
    run = start()
    average = {name: tensor.clone() for name, tensor in run.model.named_parameters()}
    for record in run:
        keep = min(0.9, record.step / (record.step + 9))
        for name, tensor in run.model.named_parameters():
            average[name] = keep * average[name] + (1 - keep) * tensor.detach()
        if record.step == 31:
            break
    own = {name: tensor.clone() for name, tensor in run.model.named_parameters()}
    with run.averaged() as model:
        assert_close(dict(model.named_parameters()), average, rtol=1e-4, atol=1e-6)
    assert_close(dict(run.model.named_parameters()), own, rtol=0, atol=0)
    with pytest.raises(KeyError), run.averaged():
        raise KeyError
    assert_close(dict(run.model.named_parameters()), own, rtol=0, atol=0)
    plain = start(changed(ema=None))
    with plain.averaged() as model:
        assert model is plain.model


def test_a_loss_that_is_not_finite_stops_the_run_and_spares_the_state(tmp_path: Path) -> None:
    broken = False

    def loss(model: nn.Module, batch: tuple) -> tuple[torch.Tensor, int]:
        total, n = sequence_loss(model, batch)
        return total * (math.nan if broken else 1), n

    run = train(tiny(), examples, collate_pairs, loss, SETTINGS, work=tmp_path)
    next(run)
    run.save()
    weights = {name: tensor.clone() for name, tensor in run.model.state_dict().items()}
    broken = True
    with pytest.raises(FloatingPointError, match=r"step 2: loss nan .* Lower the learning rate"):
        next(run)
    assert_close(run.model.state_dict(), weights, rtol=0, atol=0)
    again = train(tiny(), examples, collate_pairs, loss, SETTINGS, work=tmp_path)
    assert again.step == 1


def test_nothing_to_train_on_is_said() -> None:
    with pytest.raises(ValueError, match=r"examples\(0\) is empty"):
        next(train(tiny(), lambda epoch: [], collate_pairs, sequence_loss, SETTINGS))
    with pytest.raises(ValueError, match=r"step 1: the loss counted no token"):
        next(train(tiny(), examples, collate_pairs, lambda m, b: (sequence_loss(m, b)[0], 0), SETTINGS))


# ── a step depends on its number alone ──────────────────────────────────────────────────────────


@pytest.mark.parametrize(("cut_at", "schedule"), [(1, "linear"), (14, "cosine"), (15, "inverse_sqrt"), (23, "cosine")])
def test_resumed_run_repeats_losses_and_weights_to_the_bit(tmp_path: Path, cut_at: int, schedule: str) -> None:
    settings = changed(schedule=schedule)
    whole = start(settings)
    records = list(whole)
    first = start(settings, work=tmp_path)
    before = [next(first) for _ in range(cut_at)]
    first.save()
    next(first)  # done, but not saved: it will be done again
    second = start(settings, work=tmp_path)
    assert (second.step, second.finished) == (cut_at, False)
    after = list(second)
    assert exact([*before, *after]) == exact(records)
    assert same_weights(second.model, whole.model)
    with second.averaged() as one, whole.averaged() as other:
        assert same_weights(one, other)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines] == list(range(1, len(records) + 1))
    assert [line["loss"] for line in lines] == [r.loss for r in records]
    third = start(settings, work=tmp_path)
    assert list(third) == []
    assert third.finished
    assert same_weights(third.model, whole.model)


def test_killed_run_goes_on_to_the_very_same_losses(tmp_path: Path) -> None:
    """kill −9 in the middle of an epoch, in a process that writes its state after every step."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    command = [sys.executable, HERE / "tiny_training.py", tmp_path]
    with subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=environment) as process:
        assert process.stdout
        said = [json.loads(process.stdout.readline()) for _ in range(20)]
        process.send_signal(signal.SIGKILL)
        said += [json.loads(line) for line in process.stdout]
    assert process.returncode == -signal.SIGKILL
    threads = torch.get_num_threads()
    torch.set_num_threads(1)
    try:
        whole = exact(list(start()))
        resumed = start(work=tmp_path)
        at = resumed.step
        rest = exact(list(resumed))
    finally:
        torch.set_num_threads(threads)
    assert len(said) < len(whole)
    assert 18 <= at <= len(said)
    assert said[19][1:3] == [1, False]  # inside the second epoch
    assert said == whole[: len(said)]
    assert rest == whole[at:]


def test_what_the_caller_does_between_steps_changes_nothing() -> None:
    """Evaluation, other modes, random numbers, gradients, averaged weights."""
    expected = exact(list(start(changed(epochs=1))))
    run, records = start(changed(epochs=1)), []
    for record in run:
        records.append(record)
        with run.averaged() as model:
            model.eval()
            sequence_loss(model, collate_pairs(examples(7)[:5]))[0].backward()
        torch.rand(record.step)
    assert exact(records) == expected


def test_the_caller_s_random_state_is_left_alone() -> None:
    torch.manual_seed(3)
    expected = torch.rand(5)
    torch.manual_seed(3)
    run = start()
    next(run)
    next(run)
    assert torch.equal(torch.rand(5), expected)


def test_seeds_differ_in_batches_and_in_dropout() -> None:
    assert exact([next(start())]) == exact([next(start())])
    assert next(start()).loss != next(start(changed(seed=4))).loss
    still, drop = start(changed(learning_rate=1e-30), dropout=0.0), start(changed(learning_rate=1e-30))
    assert next(still).loss != next(drop).loss

    def one_batch(seed: int, dropout: float) -> list[float]:
        run = train(tiny(dropout=dropout), lambda epoch: examples(0)[:3], collate_pairs, sequence_loss,
                    changed(seed=seed, batch_tokens=999, epochs=2, learning_rate=1e-30, micro_tokens=None))  # fmt: skip
        return [record.loss for record in run]

    assert one_batch(0, 0.0) == pytest.approx(one_batch(1, 0.0), rel=1e-6)
    assert len({*one_batch(0, 0.5), *one_batch(1, 0.5)}) == 4  # anew in every step, and by the seed


def test_no_record_is_skipped_when_the_caller_dies_on_it(tmp_path: Path) -> None:
    """The state of a step is written after the caller has dealt with it, so that a snapshot is never missed."""
    dealt: list[int] = []

    def go() -> None:
        for record in start(changed(save_minutes=0.0, epochs=1), work=tmp_path):
            if record.step == 9 and dealt.count(9) == 0:
                dealt.append(9)
                raise KeyboardInterrupt
            dealt.append(record.step)

    with pytest.raises(KeyboardInterrupt):
        go()
    go()
    assert dealt[:11] == [*range(1, 10), 9, 10]


# ── states ──────────────────────────────────────────────────────────────────────────────────────


@pytest.fixture
def begun(tmp_path: Path) -> Path:
    run = start(work=tmp_path)
    for _ in range(17):
        next(run)
    run.save()
    return tmp_path


def test_state_of_another_run_is_refused_and_says_why(begun: Path) -> None:
    refused = r"belongs to another run\. Delete it, or take another work folder \("
    with pytest.raises(ResumeError, match=refused + r"settings\.learning_rate: 0\.003, now 0\.1; settings\.seed: 3"):
        start(changed(learning_rate=0.1, seed=4), work=begun)
    with pytest.raises(ResumeError, match=refused + r"smoothing: None, now 0\.3\)"):
        start(work=begun, facts={"smoothing": 0.3})
    with pytest.raises(ResumeError, match=refused + "data: "):
        train(tiny(), lambda epoch: examples(epoch)[1:], collate_pairs, sequence_loss, SETTINGS, work=begun)
    with pytest.raises(ResumeError, match=refused + "model: "):
        train(tiny(d_model=8), examples, collate_pairs, sequence_loss, SETTINGS, work=begun)
    assert start(changed(save_minutes=3.0), work=begun).step == 17  # how often it is saved is no part of a run


def test_a_state_goes_on_under_the_same_model_and_loss_alone(begun: Path) -> None:
    """Equal shapes are not enough: dropout, heads, norms and what is frozen decide what the next step is, too."""
    for model in (tiny(dropout=0.5), frozen("mix.0.weight"), frozen("out.bias")):
        with pytest.raises(ResumeError, match=r"another run\..*\(model: "):
            train(model, examples, collate_pairs, sequence_loss, SETTINGS, work=begun)
    for loss in (partial(sequence_loss, smoothing=0.3), r_drop_loss):
        with pytest.raises(
            ResumeError, match=r"\(loss: 'sequence_loss', now '(sequence_loss\(smoothing=0.3\)|r_drop_loss)'"
        ):
            train(tiny(), examples, collate_pairs, loss, SETTINGS, work=begun)


def test_addresses_in_memory_are_no_facts() -> None:
    loss = [partial(sequence_loss, smoothing=0.1, act=lambda x: x) for _ in range(2)]
    runs = [train(tiny(), examples, collate_pairs, each, SETTINGS) for each in loss]
    assert repr(loss[0]) != repr(loss[1])
    assert runs[0].facts == runs[1].facts


def frozen(name: str) -> nn.Module:
    model = tiny()
    model.get_parameter(name).requires_grad_(False)
    return model


def test_heads_and_positions_are_part_of_the_model(tmp_path: Path) -> None:
    def begin(**options) -> Run:
        config = DecoderOnlyConfig(n_vocab=23, d_model=12, d_ff=17, n_layers=1, **options)
        rows = [([5, 6, 7], [6, 7, 8])] * 9
        collate = lambda pairs: tuple(map(torch.tensor, zip(*pairs, strict=True)))  # noqa: E731
        return train(DecoderOnly(config), lambda epoch: rows, collate, sequence_loss, SETTINGS, work=tmp_path)

    run = begin(n_heads=2)
    next(run)
    run.save()
    for options in ({"n_heads": 4}, {"n_heads": 2, "positions": "alibi"}, {"n_heads": 2, "norm": "post"}):
        with pytest.raises(ResumeError, match="model: "):
            begin(**options)
    assert begin(n_heads=2).step == 1


def test_moments_are_kept_by_the_name_of_their_parameter(tmp_path: Path) -> None:
    model = frozen("mix.0.weight")
    run = train(model, examples, collate_pairs, sequence_loss, SETTINGS, work=tmp_path)
    next(run)
    run.save()
    with safe_open(tmp_path / "state.safetensors", framework="pt") as file:
        kept = {name for name in file.keys() if name.startswith(("optimizer.", "ema."))}  # noqa: SIM118
    trained = {name for name, parameter in model.named_parameters() if parameter.requires_grad}
    moments = ("exp_avg", "exp_avg_sq", "step")
    assert kept == {f"optimizer.{name}.{m}" for name in trained for m in moments} | {f"ema.{name}" for name in trained}


def test_examples_that_change_by_themselves_are_noticed(begun: Path) -> None:
    run = train(tiny(), lambda epoch: examples(5 * epoch), collate_pairs, sequence_loss, SETTINGS, work=begun)
    with pytest.raises(ResumeError, match=r"examples\(1\) gave other examples than before the interruption"):
        next(run)


@pytest.mark.parametrize("damage", [lambda b: b"\0" * 101, lambda b: b[: len(b) // 2], lambda b: b""])
def test_damaged_state_is_named(begun: Path, damage) -> None:
    state = begun / "state.safetensors"
    state.write_bytes(damage(state.read_bytes()))
    with pytest.raises(ResumeError, match=r"state\.safetensors is not the state of a run .* Delete it to start again"):
        start(work=begun)


def test_state_is_replaced_whole_or_not_at_all(begun: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def full(handle: int) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    run = start(work=begun)
    next(run)
    with monkeypatch.context() as patch:
        patch.setattr(os, "fsync", full)
        with pytest.raises(OSError, match="No space left"):
            run.save()
    (begun / ".state.safetensors.half").write_bytes(b"what a killed process leaves")
    assert start(work=begun).step == 17
    assert sorted(path.name for path in begun.iterdir()) == ["log.jsonl", "state.safetensors"]


def test_a_run_may_be_prolonged_where_no_step_depends_on_its_end(tmp_path: Path) -> None:
    settings = changed(schedule="inverse_sqrt", epochs=2)
    short = list(start(changed(schedule="inverse_sqrt", epochs=1), work=tmp_path))
    rest = list(start(settings, work=tmp_path))
    assert exact([*short, *rest]) == exact(list(start(settings)))
    list(start(changed(epochs=1), work=tmp_path / "cosine"))
    with pytest.raises(ResumeError, match=r"settings\.epochs: 1, now 3"):
        start(work=tmp_path / "cosine")


def test_tied_weights_survive_the_state(tmp_path: Path) -> None:
    """One table under two names: the state's format refuses tensors that share memory."""

    def go(work: Path) -> Run:
        model = tiny()
        model.target = model.source
        return train(model, examples, collate_pairs, sequence_loss, SETTINGS, work=work)

    expected = exact(list(go(tmp_path / "whole")))
    first = go(tmp_path / "cut")
    before = [next(first) for _ in range(11)]
    first.save()
    second = go(tmp_path / "cut")
    assert exact([*before, *second]) == expected
    assert second.model.target.weight is second.model.source.weight
    assert same_weights(second.model, go(tmp_path / "whole").model)


def test_stopping_early_saves_and_the_next_call_goes_on(tmp_path: Path) -> None:
    settings = changed(epochs=1)
    expected, got, calls = exact(list(start(settings))), [], 0
    while len(got) < len(expected):
        run = start(settings, work=tmp_path, stop_after_minutes=0.0)
        got += exact(list(run))
        calls += 1
        assert run.finished is (len(got) == len(expected))
    assert got == expected
    assert calls == len(expected)  # a step each, however short the time


def test_minutes_end_a_run_with_its_learning_rate_at_zero() -> None:
    run = start(changed(epochs=None, minutes=0.005, schedule="linear", warmup_steps=1))
    records = list(run)
    assert run.finished
    assert 0.3 <= run.seconds < 2.0
    assert records[0].learning_rate == 3e-3
    assert records[-1].learning_rate < 1e-3
    rates = [r.learning_rate for r in records]
    assert rates == sorted(rates, reverse=True)


# ── what people see ─────────────────────────────────────────────────────────────────────────────


def test_log_holds_steps_and_notes(tmp_path: Path) -> None:
    run = start(changed(epochs=2), work=tmp_path, log_every=5)
    for record in run:
        if record.epoch_ends:
            run.note(validation_bleu=3.25)
    lines = [json.loads(line) for line in (tmp_path / "log.jsonl").read_text("utf-8").splitlines()]
    assert [line["step"] for line in lines if "loss" in line] == [*range(5, run.step + 1, 5)]
    assert [line["validation_bleu"] for line in lines if "loss" not in line] == [3.25] * 2
    assert set(lines[0]) == {"step", "epoch", "epoch_ends", "loss", "learning_rate", "tokens", "gradient_norm",
                             "seconds"}  # fmt: skip


def test_progress_is_shown_to_people_alone(capsys: pytest.CaptureFixture) -> None:
    list(start(changed(epochs=1)))
    assert capsys.readouterr() == ("", "")  # not a terminal
    list(start(changed(epochs=1), bar=True))
    seen = capsys.readouterr()
    assert seen.out == ""
    assert seen.err.startswith("\r")
    assert "loss" in seen.err
    assert seen.err.endswith("\n")


# ── several processes, other processors ─────────────────────────────────────────────────────────


def test_two_processes_equal_one_on_the_joint_batch(tmp_path: Path) -> None:
    """Under torchrun with gloo: losses, gradients and weights; and a resumed joint run to the bit."""
    environment = {**os.environ, "OMP_NUM_THREADS": "1"}
    subprocess.run(
        [sys.executable, "-m", "torch.distributed.run", "--standalone", "--nproc-per-node", "2",
         HERE / "tiny_training.py", tmp_path, "share"],
        env=environment, check=True, capture_output=True, timeout=300,
    )  # fmt: skip
    joint, other = (json.loads((tmp_path / f"{rank}.json").read_text("utf-8")) for rank in (0, 1))
    assert joint["n"] == 2
    assert joint == other  # every process knows the same
    one = start(dropout=0.0)
    alone = [[r.loss, r.gradient_norm, r.tokens] for r in one]
    assert [tokens for *_, tokens in joint["records"]] == [tokens for *_, tokens in alone]
    assert_close(torch.tensor(joint["records"]), torch.tensor(alone), rtol=1e-5, atol=1e-5)
    for rank in (0, 1):
        weights = load_file(tmp_path / f"{rank}.safetensors")
        assert_close(weights, dict(one.model.state_dict()), rtol=1e-4, atol=1e-5)
    assert joint["resumed"] == joint["whole"]
    assert len(joint["whole"]) == sum(record[1] == 0 for record in exact(list(start())))


@pytest.mark.skipif(not torch.cuda.is_available(), reason="needs a GPU")
def test_one_gpu_computes_what_the_cpu_does() -> None:
    here, there = start(changed(epochs=1), dropout=0.0), start(changed(epochs=1), dropout=0.0, device="cuda")
    for one, other in zip(here, there, strict=True):
        assert other.loss == pytest.approx(one.loss, rel=1e-3)
        assert other.tokens == one.tokens
    assert next(there.model.parameters()).is_cuda
