"""`decoding.py`: searches against brute force, chi-square, teacher forcing and Hugging Face's beam search."""

import itertools
import math
from functools import partial

import pytest
import torch
from scipy.stats import chisquare
from torch.testing import assert_close

from attention_decoded import decoding
from attention_decoded.decoding import (
    DEPARTURE,
    FORBIDDEN,
    batched,
    beam_search,
    greedy,
    length_penalty,
    pad,
    reshape,
    sample,
)
from attention_decoded.positions import sinusoids
from attention_decoded.rnn import RNNConfig, RNNTranslator
from attention_decoded.transformer import DecoderOnly, DecoderOnlyConfig, Transformer, TransformerConfig

BOS, EOS = 2, 3


def _rnn(attention: bool) -> RNNTranslator:
    config = RNNConfig(n_source_vocab=11, n_target_vocab=13, d_embedding=5, d_hidden=7, attention=attention)
    return RNNTranslator(config)


def _transformer(**options) -> Transformer:
    sizes = {"d_model": 12, "n_heads": 2, "d_ff": 17, "n_encoder_layers": 2, "n_decoder_layers": 2, "max_len": 32}
    return Transformer(TransformerConfig(n_source_vocab=11, n_target_vocab=13, **sizes, **options))


def _decoder_only(**options) -> DecoderOnly:
    sizes = {"d_model": 12, "n_heads": 2, "d_ff": 17, "n_layers": 2, "max_len": 32}
    return DecoderOnly(DecoderOnlyConfig(n_vocab=13, **sizes, **options))


KINDS = ["sinusoidal", "learned", "relative", "alibi", "rotary"]
TRANSLATORS = {
    "rnn": lambda: _rnn(False),
    "rnn with attention": lambda: _rnn(True),
    **{f"transformer, {kind}": lambda kind=kind: _transformer(positions=kind) for kind in KINDS},
    "transformer, post-norm": lambda: _transformer(norm="post"),
}
SOME = ["rnn with attention", "transformer, sinusoidal", "transformer, rotary"]
COMPLETERS = {f"decoder only, {kind}": lambda kind=kind: _decoder_only(positions=kind) for kind in KINDS}


def _lively(build, seed: int = 1):
    """A random model whose texts differ from source to source and end at different steps.

    Random models repeat themselves for ever. So the logits are a sine of many turns over the state: as good
    as dice, and yet a function of all that the model has read. Double precision leaves no tie to chance.
    """
    torch.manual_seed(seed)
    model = build().eval().double()
    model.to_logits = _Dice(13).forward  # (a module would not take the place of a method)
    return model


class _Dice(torch.nn.Module):
    def __init__(self, n_vocab: int):
        super().__init__()
        self.w = torch.randn(n_vocab, 64, dtype=torch.float64)

    def forward(self, x):
        return 3 * torch.sin(9 * x @ self.w[:, : x.shape[-1]].T)


def _sentences(n: int = 11, n_vocab: int = 11, seed: int = 5) -> list[list[int]]:
    generator = torch.Generator().manual_seed(seed)
    lengths = torch.randint(1, 7, (n,), generator=generator).tolist()
    return [[*torch.randint(5, n_vocab, (k,), generator=generator).tolist(), EOS] for k in lengths]


SENTENCES = _sentences()


class Table:
    """Next-token logits that depend on the source's first token and on the last token written; it counts its work."""

    training = False

    def __init__(self, logits: torch.Tensor):
        self.logits, self.rows = logits, []

    def start(self, source):
        return {"source": source[:, 0]}

    def step(self, ids, state):
        self.rows.append(len(ids))
        return self.logits[state["source"], ids], state


def _forced(model, sentence: list[int], texts: list[list[int]]) -> list[list[float]]:
    """Log-probabilities of each text's tokens by teacher forcing, without any state."""
    given, whole = ([], [[*sentence, *ids[:-1]] for ids in texts])
    if not isinstance(model, DecoderOnly):
        given, whole = [torch.tensor([sentence]).expand(len(texts), -1)], [[BOS, *ids[:-1]] for ids in texts]
    with torch.no_grad():
        log_probs = model(*given, pad(whole)).log_softmax(-1)
    skip = 0 if given else len(sentence) - 1
    return [row[skip:][range(len(ids)), ids].tolist() for row, ids in zip(log_probs, texts, strict=True)]


def _search(name: str, model, source, **options):
    """Any of the three searches, as lists of hypotheses."""
    if name == "beam":
        return beam_search(model, source, beam=4, n_best=3, **options)
    if name == "greedy":
        return [[text] for text in greedy(model, source, **options)]
    return [[text] for text in sample(model, source, generator=torch.Generator().manual_seed(3), **options)]


# ── what is reported is what the model says ─────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("name", "search"), [*((n, "greedy") for n in TRANSLATORS), *((n, s) for n in SOME for s in ("beam", "sample"))]
)
def test_pitfall_03_stepwise_equals_teacher_forced(name, search):
    model = _lively(TRANSLATORS[name])
    for sentence, texts in zip(SENTENCES, _search(search, model, pad(SENTENCES), max_len=9), strict=True):
        for text, forced in zip(texts, _forced(model, sentence, [t.ids for t in texts]), strict=True):
            assert text.log_probs == pytest.approx(forced, abs=1e-5)


@pytest.mark.parametrize(("name", "search"), [*((n, "greedy") for n in COMPLETERS), ("decoder only, rotary", "beam")])
def test_pitfall_03_stepwise_equals_teacher_forced_for_a_decoder_alone(name, search):
    model, prompts = _lively(COMPLETERS[name]), [[BOS], [BOS, 7], [BOS, 9, 5, 6, 8], [BOS, 7, 7, 12]]
    found = _search(search, model, pad(prompts, left=True), bos=None, max_len=9)
    for prompt, texts in zip(prompts, found, strict=True):
        for text, forced in zip(texts, _forced(model, prompt, [t.ids for t in texts]), strict=True):
            assert text.log_probs == pytest.approx(forced, abs=1e-5)


@pytest.mark.parametrize("name", TRANSLATORS)
def test_greedy_takes_the_likeliest_allowed_token_of_teacher_forcing(name):
    model = _lively(TRANSLATORS[name])
    for sentence, text in zip(SENTENCES, greedy(model, pad(SENTENCES), max_len=9), strict=True):
        with torch.no_grad():
            logits = model(torch.tensor([sentence]), torch.tensor([[BOS, *text.ids[:-1]]]))[0]
        logits[:, list(FORBIDDEN)] = -math.inf
        assert logits.argmax(-1).tolist() == text.ids
        assert text.finished == (text.ids[-1] == EOS) == (EOS in text.ids)
        assert text.finished or len(text.ids) == 9
        assert text.log_prob == pytest.approx(sum(text.log_probs))
        assert text.score == pytest.approx(sum(text.log_probs) / len(text.ids))


@pytest.mark.parametrize(
    ("name", "search"),
    [*((n, "greedy") for n in [*TRANSLATORS, *COMPLETERS]), *((n, "beam") for n in [*SOME, "decoder only, learned"])],
)
def test_many_at_once_equal_one_by_one(name, search):
    """Rows that end leave, others move up: nobody may get another's state. (Positions of prompts are padded left.)"""
    completes = name in COMPLETERS
    model = _lively((COMPLETERS if completes else TRANSLATORS)[name])
    options = {"bos": None if completes else BOS, "max_len": 9, "n_alternatives": 2}
    together = _search(search, model, pad(SENTENCES, left=completes), **options)
    for sentence, texts in zip(SENTENCES, together, strict=True):
        (alone,) = _search(search, model, torch.tensor([sentence]), **options)
        assert [text.ids for text in texts] == [text.ids for text in alone]
        for one, other in zip(texts, alone, strict=True):
            assert one.log_probs == pytest.approx(other.log_probs, abs=1e-5)
            assert [[i for i, _ in step] for step in one.alternatives] == [
                [i for i, _ in step] for step in other.alternatives
            ]
    assert len({len(texts[0].ids) for texts in together}) > 2, "the texts should end at different steps"


@pytest.mark.parametrize("name", SOME)
def test_a_prefix_is_continued_as_if_it_had_been_written(name):
    model = _lively(TRANSLATORS[name])
    whole = [(s, t) for s, t in zip(SENTENCES, greedy(model, pad(SENTENCES), max_len=9), strict=True) if len(t.ids) > 2]
    source, prefix = pad([s for s, _ in whole]), torch.tensor([t.ids[:2] for _, t in whole])
    assert len(whole) > 2
    for search in ({"greedy": greedy, "beam": lambda *a, **k: [t[0] for t in beam_search(*a, beam=1, **k)]}).values():
        for (_, text), rest in zip(whole, search(model, source, prefix=prefix, max_len=7), strict=True):
            assert rest.ids == text.ids[2:]
            assert rest.log_probs == pytest.approx(text.log_probs[2:], abs=1e-5)
            assert rest.score == pytest.approx(sum(text.log_probs[2:]) / len(rest.ids), abs=1e-5)


def test_a_prompt_may_be_followed_by_a_prefix():
    model, prompts = _lively(COMPLETERS["decoder only, rotary"]), [[BOS, 5], [BOS, 6, 7]]
    split = greedy(model, pad(prompts, left=True), bos=None, prefix=torch.tensor([[8, 9], [10, 11]]))
    joined = greedy(model, pad([[BOS, 5, 8, 9], [BOS, 6, 7, 10, 11]], left=True), bos=None)
    assert [text.ids for text in split] == [text.ids for text in joined]


@pytest.mark.parametrize("search", ["greedy", "beam", "sample"])
def test_alternatives_are_the_likeliest_tokens_in_each_place(search):
    model = _lively(TRANSLATORS["rnn with attention"])
    found = _search(search, model, pad(SENTENCES), max_len=6, n_alternatives=3)
    for sentence, texts in zip(SENTENCES, found, strict=True):
        for text in texts:
            assert len(text.alternatives) == len(text.ids)
            for t, step in enumerate(text.alternatives):
                with torch.no_grad():
                    target_in = torch.tensor([[BOS, *text.ids[:t]]])
                    log_probs = model(torch.tensor([sentence]), target_in)[0, -1].log_softmax(-1)
                allowed = sorted(set(range(13)) - set(FORBIDDEN), key=lambda i: -log_probs[i].item())
                assert [i for i, _ in step] == allowed[:3]
                assert [x for _, x in step] == pytest.approx([log_probs[i].item() for i in allowed[:3]], abs=1e-5)


def test_no_more_alternatives_than_tokens():
    model = Table(torch.zeros(6, 6, 6))
    (text,) = greedy(model, torch.tensor([[5]]), max_len=1, n_alternatives=50)
    assert {i for i, _ in text.alternatives[0]} == {EOS, 5}, "neither forbidden ones nor ones that do not exist"


# ── forbidden tokens ────────────────────────────────────────────────────────────────────────────


def test_special_tokens_are_never_written_unless_allowed():
    logits = torch.zeros(6, 7, 7)
    logits[..., 1] = 9.0  # the model wants <unk>
    source = torch.full((50, 1), 5)
    for texts in (_search(name, Table(logits), source, max_len=4) for name in ("greedy", "beam", "sample")):
        assert {i for (text, *_) in texts for i in text.ids} <= {EOS, 5, 6}
    (text, *_) = greedy(Table(logits), source, max_len=4, forbidden=())
    assert text.ids == [1, 1, 1, 1]
    (text, *_) = greedy(Table(logits), source, max_len=1)
    reported = logits[5, BOS].log_softmax(-1)[text.ids[0]].item()
    assert text.log_probs == pytest.approx([reported]), "the model's own probability, not one over what is allowed"


# ── work ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("search", ["greedy", "beam"])
def test_ended_sentences_leave_the_batch(search):
    """Source 5 + s ends after s + 1 tokens: the batch shrinks, and no step is spent when all have ended."""
    n = 16
    logits = torch.full((5 + n, 5 + n + 1, 5 + n + 1), -20.0)
    for s in range(n):  # it counts: BOS → 5 → 6 → … and then EOS
        logits[5 + s, BOS, 5 if s else EOS] = 0
        logits[5 + s, EOS, 5] = 0  # a row that was fed EOS would write on
        for i in range(s):
            logits[5 + s, 5 + i, 5 + i + 1 if i + 1 < s else EOS] = 0
    model = Table(logits)
    source = torch.randperm(n, generator=torch.Generator().manual_seed(0))[:, None] + 5
    found = greedy(model, source) if search == "greedy" else [t[0] for t in beam_search(model, source, beam=1)]
    assert [len(text.ids) for text in found] == (source[:, 0] - 4).tolist()
    assert len(model.rows) == n
    needed = [n - t for t in range(n)]
    assert all(
        least <= rows <= least + math.ceil(n / DEPARTURE) for least, rows in zip(needed, model.rows, strict=True)
    )
    assert sum(model.rows) < 1.25 * sum(needed)


def test_batches_come_back_in_the_order_given():
    seen = []

    def search(source):
        seen.append(source)
        return [row[row != 0].tolist() for row in source]

    assert batched(search, SENTENCES, batch_tokens=14) == SENTENCES
    assert all(source.numel() <= 14 for source in seen)
    assert len(seen) < len(SENTENCES)
    lengths = [n for source in seen for n in (source != 0).sum(1).tolist()]
    assert lengths == sorted(lengths, reverse=True)
    assert batched(search, [[5] * 40, [6]], batch_tokens=14) == [[5] * 40, [6]], "one longer sentence is a batch"
    assert batched(search, []) == []
    batched(search, [[5], [6, 7]], left=True)
    assert seen[-1].tolist() == [[6, 7], [0, 5]]


def test_batched_equals_one_batch():
    model = _lively(TRANSLATORS["transformer, sinusoidal"])
    ours = batched(lambda source: greedy(model, source, max_len=9), SENTENCES, batch_tokens=12)
    assert [text.ids for text in ours] == [text.ids for text in greedy(model, pad(SENTENCES), max_len=9)]


# ── beam search ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", SOME)
def test_a_beam_of_one_is_greedy(name):
    model = _lively(TRANSLATORS[name])
    for stop in ("likely", "first"):
        ours = beam_search(model, pad(SENTENCES), beam=1, stop=stop, max_len=9)
        assert [texts[0].ids for texts in ours] == [text.ids for text in greedy(model, pad(SENTENCES), max_len=9)]


@pytest.mark.parametrize(("penalty", "alpha"), [("power", 1.0), ("power", 0.0), ("power", -0.7), ("gnmt", 0.6)])
@pytest.mark.parametrize("build", [TRANSLATORS["rnn with attention"], TRANSLATORS["transformer, sinusoidal"]])
def test_a_beam_as_wide_as_all_texts_finds_the_best(build, penalty, alpha):
    """Every text of up to four tokens over EOS and three words, scored one by one, is the judge."""
    model, max_len, words = _lively(build), 4, [5, 6, 7]
    forbidden = [i for i in range(13) if i not in (EOS, *words)]
    ended = [[*w, EOS] for n in range(max_len) for w in itertools.product(words, repeat=n)]
    texts = ended + [list(w) for w in itertools.product(words, repeat=max_len)]
    options = {"penalty": penalty, "alpha": alpha, "stop": "proved", "max_len": max_len, "forbidden": forbidden}
    for sentence in SENTENCES[:3]:
        judged = []
        for ids, log_probs in zip(texts, _forced(model, sentence, texts), strict=True):
            n = len(ids)
            judged.append((sum(log_probs) / (n**alpha if penalty == "power" else ((5 + n) / 6) ** alpha), ids))
        judged.sort(reverse=True)
        (found,) = beam_search(model, torch.tensor([sentence]), beam=256, n_best=6, **options)
        assert [text.ids for text in found] == [ids for _, ids in judged[:6]]
        assert [text.score for text in found] == pytest.approx([score for score, _ in judged[:6]], abs=1e-5)


def test_a_wider_beam_finds_what_greedy_misses():
    """Sutskever's reason for a beam: the likeliest first token leads to a worse whole."""
    probability = torch.full((6, 8, 8), 1e-9)
    probability[5, BOS, 5], probability[5, BOS, 6] = 0.6, 0.4
    probability[5, 5, [5, 6, 7, EOS]] = 0.25
    probability[5, 6, EOS] = 1.0
    model, source = Table(probability.log()), torch.tensor([[5]])
    assert greedy(model, source, max_len=2)[0].ids[0] == 5
    (best,) = beam_search(model, source, beam=2, max_len=2)[0]
    assert best.ids == [6, EOS]
    assert best.log_prob == pytest.approx(math.log(0.4), abs=1e-6)
    assert best.score == pytest.approx(math.log(0.4) / 2, abs=1e-6)


@pytest.mark.parametrize("stop", ["likely", "proved", "first"])
@pytest.mark.parametrize("name", SOME)
def test_n_best_are_sorted_and_distinct(name, stop):
    model = _lively(TRANSLATORS[name])
    for texts in beam_search(model, pad(SENTENCES), beam=5, n_best=5, stop=stop, max_len=7, penalty="gnmt", alpha=0.6):
        assert len(texts) == 5
        assert [t.score for t in texts] == sorted((t.score for t in texts), reverse=True)
        assert len({tuple(t.ids) for t in texts}) == 5
        for t in texts:
            assert EOS not in t.ids[:-1]
            assert t.log_prob == pytest.approx(sum(t.log_probs))
            assert t.score == pytest.approx(t.log_prob / ((5 + len(t.ids)) / 6) ** 0.6)


def test_stop_trades_steps_for_certainty():
    """`first` ends before `likely`, `likely` before `proved`; what is proved scores at least as well."""
    model = _lively(TRANSLATORS["transformer, sinusoidal"], seed=4)
    steps, scores = {}, {}
    for stop in ("first", "likely", "proved"):
        count, step = 0, model.step

        def counting(ids, state, step=step):
            nonlocal count
            count += 1
            return step(ids, state)

        model.step = counting
        found = beam_search(model, pad(SENTENCES), beam=3, stop=stop, max_len=25, forbidden=(*FORBIDDEN, 5, 6))
        steps[stop], scores[stop] = count, sum(texts[0].score for texts in found)
        model.step = step
    assert steps["first"] <= steps["likely"] <= steps["proved"]
    assert steps["first"] < steps["proved"]
    assert scores["first"] <= scores["likely"] <= scores["proved"]


def test_penalties_by_hand():
    assert length_penalty(7) == 7
    assert length_penalty(7, alpha=0.5) == pytest.approx(2.6457513)
    assert length_penalty(7, alpha=0.0) == length_penalty(7, "gnmt", 0.0) == 1
    assert length_penalty(7, "gnmt", 1.0) == 2  # (5 + 7) / 6
    assert length_penalty(1, "gnmt", 0.6) == 1  # (5 + 1) / 6: one token is not penalised
    assert length_penalty(13, "gnmt", 0.6) == pytest.approx(3**0.6)


def test_a_penalty_decides_between_short_and_long():
    """EOS at once costs 0.9, three words and EOS cost 1.2 together: sums prefer the first, means the second."""
    logits = torch.full((6, 9, 9), -50.0)
    logits[5, BOS, EOS], logits[5, BOS, 5] = -0.9, math.log(1 - math.exp(-0.9))
    logits[5, 5, 6], logits[5, 6, 7], logits[5, 7, EOS] = -0.2, -0.2, math.log(1 - 1e-9)
    logits[5, 5, 8], logits[5, 6, 8] = (math.log(1 - math.exp(-0.2)),) * 2
    source, options = torch.tensor([[5]]), {"beam": 4, "max_len": 6, "stop": "proved"}
    assert beam_search(Table(logits), source, alpha=0.0, **options)[0][0].ids == [EOS]
    assert beam_search(Table(logits), source, alpha=1.0, **options)[0][0].ids == [5, 6, 7, EOS]


# ── chance ──────────────────────────────────────────────────────────────────────────────────────


def _cut_by_hand(logits: list[float], temperature: float, top_k: int | None, top_p: float) -> list[float]:
    """Probabilities after temperature, top-k and top-p, token by token from the likeliest down."""
    weights = {i: math.exp(x / temperature) for i, x in enumerate(logits) if i not in FORBIDDEN}
    order = sorted(weights, key=lambda i: -weights[i])[:top_k]
    kept, held, total = [], 0.0, sum(weights[i] for i in order)
    for i in order:
        if held >= top_p:
            break
        kept.append(i)
        held += weights[i] / total
    return [weights[i] / sum(weights[j] for j in kept) if i in kept else 0.0 for i in range(len(logits))]


@pytest.mark.parametrize(
    ("temperature", "top_k", "top_p"),
    [
        (1.0, None, 1.0),
        (0.6, None, 1.0),
        (1.7, 4, 1.0),
        (1.0, None, 0.7),
        (1.3, 5, 0.8),
        (1.0, 1, 1.0),
        (1.0, None, 0.1),
    ],
)
def test_samples_have_the_probabilities_of_the_model(temperature, top_k, top_p):
    """Two tokens in a row: the first follows BOS, the second whatever the same row has drawn."""
    torch.manual_seed(2)
    logits = 1.5 * torch.randn(6, 11, 11)
    logits[5, :, EOS] = -math.inf  # so that every row has a second token
    cut = {"temperature": temperature, "top_k": top_k, "top_p": top_p}
    source = torch.full((6_000, 1), 5)
    texts = sample(Table(logits), source, generator=torch.Generator().manual_seed(0), max_len=2, **cut)
    first = _cut_by_hand(logits[5, BOS].tolist(), **cut)
    expected = {
        (i, j): p * q
        for i, p in enumerate(first)
        if p
        for j, q in enumerate(_cut_by_hand(logits[5, i].tolist(), **cut))
        if q
    }
    seen = dict.fromkeys(expected, 0)
    for text in texts:
        seen[tuple(text.ids)] += 1  # a pair that was cut away has no place here
    if len(expected) > 1:
        frequencies = [p * len(source) for p in expected.values()]
        assert chisquare(list(seen.values()), frequencies).pvalue > 0.001
    for text in texts[:5]:
        assert text.log_probs == pytest.approx(
            [logits[5, a].log_softmax(-1)[b].item() for a, b in ((BOS, text.ids[0]), text.ids)], abs=1e-5
        )


def test_cuts_by_hand():
    logits = torch.tensor([0.1, 0.4, 0.3, 0.2]).log()
    assert_close(reshape(logits), logits)
    assert_close(reshape(logits, temperature=0.5).softmax(-1), torch.tensor([1.0, 16, 9, 4]) / 30)
    assert reshape(logits, top_k=2).isfinite().tolist() == [False, True, True, False]
    assert reshape(logits, top_p=0.5).isfinite().tolist() == [False, True, True, False]
    assert reshape(logits, top_p=0.75).isfinite().tolist() == [False, True, True, True]
    assert reshape(logits, top_k=3, top_p=0.5).isfinite().tolist() == [False, True, True, False]  # 4/9 < 0.5
    assert reshape(logits, top_k=2, top_p=0.5).isfinite().tolist() == [False, True, False, False]  # 4/7 ≥ 0.5
    assert reshape(logits, top_p=1e-9).isfinite().tolist() == [False, True, False, False]
    for n in (2, 4, 8):  # halves and their parts are exact: what is reached is enough
        assert reshape(torch.zeros(1, n), top_p=0.5).isfinite().sum() == n // 2
    assert reshape(torch.zeros(2, 3, 5), top_k=2).isfinite().sum(-1).unique().tolist() == [2], "ties too: exactly k"


def test_the_same_seed_writes_the_same():
    model = _lively(TRANSLATORS["transformer, sinusoidal"])

    def write(seed):
        return [t.ids for t in sample(model, pad(SENTENCES), generator=torch.Generator().manual_seed(seed), max_len=9)]

    assert write(1) == write(1)
    assert write(1) != write(2)


def test_sampling_the_likeliest_alone_is_greedy():
    model = _lively(TRANSLATORS["rnn"])
    for cut in ({"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-9}):
        ours = sample(model, pad(SENTENCES), max_len=9, **cut)
        assert [t.ids for t in ours] == [t.ids for t in greedy(model, pad(SENTENCES), max_len=9)]


# ── Hugging Face ────────────────────────────────────────────────────────────────────────────────


def _marian(**options):
    """A tiny random MarianMTModel with our special ids."""
    transformers = pytest.importorskip("transformers", reason="transformers is the reference, for tests only")
    config = transformers.MarianConfig(
        **{"vocab_size": 17, "d_model": 12, "init_std": 0.5, "max_position_embeddings": 32} | options,
        **{f"{side}_{key}": n for side in ("encoder", "decoder") for key, n in LAYERS.items()},
        **{"pad_token_id": 0, "bos_token_id": BOS, "eos_token_id": EOS, "decoder_start_token_id": BOS},
        forced_eos_token_id=None,
    )
    return transformers.MarianMTModel(config).eval()


LAYERS = {"layers": 2, "attention_heads": 2, "ffn_dim": 17}


class Marian:
    """A MarianMTModel in the protocol: it keeps what it wrote and reads it all again at each step."""

    training = False

    def __init__(self, model):
        self.model = model

    def start(self, source):
        mask = (source != 0).long()
        memory = self.model.get_encoder()(input_ids=source, attention_mask=mask).last_hidden_state
        return {"memory": memory, "mask": mask, "written": source[:, :0]}

    def step(self, ids, state):
        written = torch.cat([state["written"], ids[:, None]], dim=1)
        logits = self.model(
            encoder_outputs=(state["memory"],), attention_mask=state["mask"], decoder_input_ids=written, use_cache=False
        ).logits[:, -1]
        return logits, {**state, "written": written}


def _up_to_eos(ids: list[int]) -> list[int]:
    return ids[: ids.index(EOS) + 1] if EOS in ids else ids


STOPS = {"likely": False, "proved": "never", "first": True}


@pytest.mark.parametrize("stop", STOPS)
@pytest.mark.parametrize("alpha", [1.0, 0.4, 0.0, -0.5])
def test_beam_search_equals_hugging_faces(alpha, stop):
    """All four texts of each source, with scores: long ones that the maximal length cuts off, and short ones."""
    seen = []
    for seed, eagerness in ((11, 0.0), (12, 1.0), (13, 2.0)):
        torch.manual_seed(seed)
        model, source, max_len = _marian().double(), pad(_sentences(8, 17, seed=seed)), 9
        model.lm_head = _Dice(17)
        model.final_logits_bias[0, EOS] = eagerness
        theirs = model.generate(
            input_ids=source,
            attention_mask=(source != 0).long(),
            num_beams=4,
            num_return_sequences=4,
            length_penalty=alpha,
            early_stopping=STOPS[stop],
            max_new_tokens=max_len,
            bad_words_ids=[[i] for i in FORBIDDEN],
            do_sample=False,
            return_dict_in_generate=True,
            output_scores=True,
        )
        found = beam_search(Marian(model), source, beam=4, n_best=4, alpha=alpha, stop=stop, max_len=max_len)
        ours = [text for texts in found for text in texts]
        assert [text.ids for text in ours] == [_up_to_eos(row[1:]) for row in theirs.sequences.tolist()]
        assert [text.score for text in ours] == pytest.approx(theirs.sequences_scores.tolist(), abs=1e-5)
        seen += ours
    assert {text.finished for text in seen} == {True, False}
    assert len({len(text.ids) for text in seen}) > 5


def test_our_transformer_and_marian_with_the_same_weights():
    """Post-norm, sinusoids, tied tables: logits within 1e-5, and the same four texts a source with the same scores."""
    torch.manual_seed(3)
    config = {"d_model": 12, "n_heads": 2, "d_ff": 17, "n_encoder_layers": 2, "n_decoder_layers": 2}
    ours = Transformer(TransformerConfig(n_source_vocab=17, n_target_vocab=17, norm="post", shared=True, **config))
    theirs = _marian(activation_function="relu", scale_embedding=True)
    with torch.no_grad():
        for parameter in ours.parameters():
            parameter.add_(0.3 * torch.randn_like(parameter))
        theirs.load_state_dict(_as_marian(ours, theirs.state_dict()))
    ours.eval()
    source, target_in = pad(_sentences(7, 17)), torch.randint(5, 17, (7, 5))
    target_in[:, 0] = BOS
    with torch.no_grad():
        reference = theirs(source, attention_mask=(source != 0).long(), decoder_input_ids=target_in).logits
        assert_close(ours(source, target_in), reference, atol=1e-5, rtol=1e-5)
    found = [beam_search(model, source, beam=4, n_best=4, max_len=8) for model in (ours, Marian(theirs))]
    for texts, others in zip(*found, strict=True):
        assert [text.ids for text in texts] == [text.ids for text in others]
        assert [text.score for text in texts] == pytest.approx([text.score for text in others], abs=1e-5)


def _as_marian(model: Transformer, like: dict[str, torch.Tensor]) -> dict[str, torch.Tensor]:
    """Our weights under Marian's names. Its projections have biases, ours have none: zero."""
    ours, theirs = model.state_dict(), {name: torch.zeros_like(tensor) for name, tensor in like.items()}
    names = {"attention": "self_attn", "cross": "encoder_attn"}
    parts = {"to_q": "q_proj", "to_k": "k_proj", "to_v": "v_proj", "to_out": "out_proj"}
    norms = {"norm_attention": "self_attn_layer_norm", "norm_cross": "encoder_attn_layer_norm"}
    rename = {f"{a}.{b}": f"{names[a]}.{parts[b]}" for a in names for b in parts} | norms
    rename |= {"norm_ff": "final_layer_norm", "ff.0": "fc1", "ff.2": "fc2"}
    for name, tensor in ours.items():
        if name.startswith(("encoder.", "decoder.")):
            stack, layer, rest = name.split(".", 2)
            part, kind = rest.rsplit(".", 1)
            theirs[f"model.{stack}.layers.{layer}.{rename[part]}.{kind}"] = tensor
    for name in like:
        if name.endswith(("embed_tokens.weight", "shared.weight", "lm_head.weight")):
            theirs[name] = ours["target.weight"]
        if name.endswith("embed_positions.weight"):
            theirs[name] = sinusoids(*like[name].shape)
    theirs["final_logits_bias"] = ours["bias"][None]
    assert set(theirs) == set(like)
    return theirs


# ── bad input ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("search", "options", "message"),
    [
        (greedy, {"max_len": 0}, "max_len=0"),
        (greedy, {"n_alternatives": -1}, "n_alternatives=-1"),
        (greedy, {"forbidden": (0, 3)}, "EOS must be allowed"),
        (greedy, {"eos": -1}, "eos=-1"),
        (greedy, {"eos": 99}, "eos=99 is not among the model's 13 tokens"),
        (greedy, {"prefix": torch.tensor([[5], [0]])}, "without padding"),
        (beam_search, {"beam": 0}, "beam=0"),
        (beam_search, {"beam": 2, "n_best": 3}, "n_best=3"),
        (beam_search, {"n_best": 0}, "n_best=0"),
        (beam_search, {"max_len": -3}, "max_len=-3"),
        (sample, {"top_p": 0.0}, r"top_p=0.0 must lie in \(0, 1\]"),
        (sample, {"top_p": 1.1}, "top_p=1.1"),
        (sample, {"top_p": math.nan}, "top_p=nan"),
        (sample, {"top_k": 0}, "top_k=0"),
        (sample, {"temperature": 0.0}, "temperature=0.0 must be above 0.*greedy"),
        (sample, {"temperature": math.inf}, "temperature=inf"),
    ],
)
def test_arguments_out_of_range_are_refused(search, options, message):
    with pytest.raises(ValueError, match=message):
        search(_rnn(True).eval(), torch.tensor([[5, 3], [6, 3]]), **options)


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: length_penalty.__wrapped__(3, "cube", 1.0), "penalty='cube' is none of power, gnmt"),
        (lambda: _bare(beam_search)(_rnn(True).eval(), torch.tensor([[5]]), stop="soon"), "stop='soon' is none of"),
        (
            lambda: _bare(greedy)(_rnn(True).eval(), torch.tensor([[5], [6]]), prefix=torch.tensor([[5]])),
            "one row for each of the 2 sources",
        ),
    ],
)
def test_what_the_shape_checks_refuse_in_tests_is_refused_without_them(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def _bare(search):
    """The function as readers have it: without the checks of types and shapes that tests add."""
    return search.__wrapped__.__wrapped__


@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_broken_sources_are_refused(search):
    model = _rnn(True).eval()
    with pytest.raises(ValueError, match=r"sources \[1\].*empty"):
        search(model, torch.tensor([[5, 3], [0, 0]]))
    with pytest.raises(ValueError, match="belongs on the right"):
        search(model, torch.tensor([[0, 5], [6, 3]]))
    with pytest.raises(ValueError, match="belongs on the left"):
        search(_decoder_only().eval(), torch.tensor([[5, 0], [6, 7]]), bos=None)
    with pytest.raises(ValueError, match=r"sentences \[0, 2\].*empty"):
        batched(lambda source: search(model, source), [[], [5], []])
    with pytest.raises(ValueError, match=r"sentences \[1\].*empty"):
        pad([[5], []])
    assert search(model, torch.zeros(0, 4, dtype=torch.long)) == []
    with pytest.raises(ValueError, match="batch_tokens=0"):
        batched(lambda source: search(model, source), [[5]], batch_tokens=0)


@pytest.mark.parametrize("search", [greedy, sample, beam_search])
@pytest.mark.parametrize(
    ("source", "message"),
    [
        (torch.tensor([5, 3]), r"source is torch.int64 \(2,\), not an integer tensor \[batch, position\]: `pad`"),
        (torch.tensor([[5.0, 3.0]]), r"source is torch.float32 \(1, 2\)"),
        (torch.tensor([[5, -3]]), "source has the id -3"),
        (torch.tensor([[5, 4100]]), "ids up to 4100 are more than the model knows: are they its own tokenizer's"),
    ],
)
def test_a_source_that_is_no_ids_of_the_model_is_refused(search, source, message):
    for model in (_rnn(True).eval(), _lively(TRANSLATORS["transformer, sinusoidal"])):
        with pytest.raises(ValueError, match=message):
            _bare(search)(model, source)
    with pytest.raises(ValueError, match=message.replace("source", "prefix")):
        _bare(search)(_rnn(True).eval(), torch.tensor([[5]]), prefix=source)


class Odd(Table):
    """A model that gets a shape wrong."""

    def __init__(self, state=None, shape=None, mistake=False):
        super().__init__(torch.zeros(8, 7, 7))
        self.state, self.shape, self.mistake = state, shape, mistake

    def start(self, source):
        return super().start(source) | (self.state or {})

    def step(self, ids, state):
        if self.mistake:
            return [][3]
        logits, state = super().step(ids, state)
        return logits if self.shape is None else logits.reshape(self.shape), state


@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_a_model_that_gets_a_shape_wrong_is_told_so(search):
    source, hidden = torch.tensor([[5], [6], [5]]), torch.zeros(2, 3, 4)
    for state, message in (
        ({"h": hidden}, r"state\['h'\] is of shape \(2, 3, 4\), not a tensor whose first axis is the batch of 3"),
        ({"n": 3}, r"state\['n'\] is int, not a tensor"),
    ):
        with pytest.raises(ValueError, match=message):
            _bare(search)(Odd(state=state), source)
    with pytest.raises(ValueError, match=r"the model's logits have the shape \(3, 1, 7\), not \[batch, vocab\]"):
        _bare(search)(Odd(shape=(3, 1, 7)), source)
    with pytest.raises(IndexError, match="list index out of range"):  # its own mistake stays its own
        _bare(search)(Odd(mistake=True), source)


def test_things_of_another_kind_are_refused():
    check = partial(
        decoding._check.__wrapped__, max_len=5, bos=BOS, eos=EOS, prefix=None, forbidden=(), n_alternatives=0
    )
    with pytest.raises(ValueError, match=r"source is list, not an integer tensor \[batch, position\]: `pad`"):
        check(_rnn(True).eval(), [[5, 3]])
    with pytest.raises(TypeError, match="a function does not write: it needs `start` and `step`, see `Writer`"):
        check(lambda ids: ids, torch.tensor([[5]]))


@pytest.mark.parametrize("search", [greedy, sample, beam_search])
def test_broken_models_are_refused(search):
    source = torch.tensor([[5], [5]])
    with pytest.raises(ValueError, match=r"training mode.*model.eval"):
        search(_rnn(True).train(), source)
    for number in (math.nan, math.inf):
        with pytest.raises(ValueError, match="NaN or infinite"):
            search(Table(torch.full((6, 7, 7), number)), source)
    logits = torch.zeros(6, 7, 7)
    logits[..., [EOS, 5, 6]] = -math.inf
    with pytest.raises((ValueError, RuntimeError), match="probability"):
        search(Table(logits), source)


def test_nothing_that_was_given_is_altered():
    model, source = _lively(TRANSLATORS["transformer, sinusoidal"]), pad(SENTENCES)
    weights, ids = {k: v.clone() for k, v in model.state_dict().items()}, source.clone()
    logits = torch.randn(6, 9, 9)
    table, kept = Table(logits), logits.clone()
    for search in ("greedy", "beam", "sample"):
        _search(search, model, source, max_len=5)
        _search(search, table, torch.tensor([[5]]), max_len=5)
    reshape(logits, top_k=2, top_p=0.5)
    assert torch.equal(source, ids)
    assert torch.equal(logits, kept)
    assert all(torch.equal(v, weights[k]) for k, v in model.state_dict().items())
