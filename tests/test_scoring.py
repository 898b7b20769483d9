"""`scoring.py`: figures against sacreBLEU's own, and against their definitions written out a second time."""

import json
import math
import subprocess
import sys
from collections import Counter

import pytest
import torch
from torch import nn

from attention_decoded import scoring
from attention_decoded.rnn import RNNConfig, RNNTranslator
from attention_decoded.scoring import Score, bleu, by_length, chrf, compare, perplexity, text_perplexity
from attention_decoded.transformer import DecoderOnly, DecoderOnlyConfig, Transformer, TransformerConfig

WORDS = ["the", "a", "cat", "dog", "sees", "knows", "big", "small", "house", "tree", "in", "on", "under", "and", "he"]
BOS, EOS = 2, 3


def _corpus(n: int, noise: float, seed: int) -> tuple[list[str], list[str]]:
    """References, and texts in which some of their words have been changed."""
    generator = torch.Generator().manual_seed(seed)

    def draw(k: int) -> list[str]:
        return [WORDS[i] for i in torch.randint(len(WORDS), (k,), generator=generator)]

    references = [draw(int(torch.randint(4, 13, (), generator=generator))) for _ in range(n)]
    changed = torch.rand(n, 13, generator=generator) < noise
    texts = [[draw(1)[0] if changed[i, j] else w for j, w in enumerate(r)] for i, r in enumerate(references)]
    return [" ".join(t) for t in texts], [" ".join(r) for r in references]


TEXTS, REFERENCES = _corpus(60, 0.3, seed=1)
OTHERS, _ = _corpus(60, 0.34, seed=1)
SECOND = [" ".join(reversed(reference.split())) for reference in REFERENCES]


def _sacrebleu():
    return pytest.importorskip("sacrebleu", reason="sacrebleu counts what is tested here")


# ── BLEU and chrF ───────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("references", [REFERENCES, [*zip(REFERENCES, SECOND, strict=True)]])
def test_pitfall_22_corpus_score_signature_and_interval_are_sacrebleus(references):
    metrics = _sacrebleu().metrics
    columns = [REFERENCES] if references is REFERENCES else [REFERENCES, SECOND]
    for ours, metric in ((bleu, metrics.BLEU()), (chrf, metrics.CHRF())):
        theirs = metric.corpus_score(TEXTS, columns, n_bootstrap=200)
        score = ours(TEXTS, references, n_bootstrap=200)
        assert score.value == pytest.approx(theirs.score, abs=1e-9)
        assert (score.high - score.low) / 2 == pytest.approx(theirs._ci, abs=1e-3)  # theirs counts in single precision
        assert score.low < score.value < score.high
        assert score.signature.partition("|")[2] == metric.get_signature().format()
        assert f"nrefs:{len(columns)}|bs:200|seed:12345" in score.signature
        assert score.n == 60


def _grams(items, n: int) -> Counter:
    return Counter(tuple(items[i : i + n]) for i in range(len(items) - n + 1))


def test_bleu_by_its_definition():
    """Papineni et al., section 2.3: clipped precisions over the whole corpus, their geometric mean, brevity penalty."""
    texts = [" ".join(text.split()[:-1]) for text in TEXTS]  # too short, so that the penalty counts
    logs = []
    for n in (1, 2, 3, 4):
        hits, total = 0, 0
        for text, reference in zip(texts, REFERENCES, strict=True):
            own = _grams(text.split(), n)
            hits += sum((own & _grams(reference.split(), n)).values())
            total += sum(own.values())
        logs.append(math.log(hits / total))
    length, wanted = (sum(len(x.split()) for x in side) for side in (texts, REFERENCES))
    assert length < wanted
    expected = 100 * math.exp(1 - wanted / length) * math.exp(sum(logs) / 4)
    assert bleu(texts, REFERENCES, n_bootstrap=0).value == pytest.approx(expected)


def test_chrf_by_its_definition():
    """Popović: mean precision and recall of 1- to 6-grams of characters without spaces, recall counting twice."""
    precisions, recalls = [], []
    for n in range(1, 7):
        hits = own = wanted = 0
        for text, reference in zip(TEXTS, REFERENCES, strict=True):
            a, b = (_grams(x.replace(" ", ""), n) for x in (text, reference))
            hits, own, wanted = hits + sum((a & b).values()), own + sum(a.values()), wanted + sum(b.values())
        precisions.append(hits / own)
        recalls.append(hits / wanted)
    p, r = sum(precisions) / 6, sum(recalls) / 6
    assert chrf(TEXTS, REFERENCES, n_bootstrap=0).value == pytest.approx(100 * 5 * p * r / (4 * p + r))


def test_ends_of_the_scale():
    for metric in (bleu, chrf):
        assert metric(REFERENCES, REFERENCES, n_bootstrap=0).value == pytest.approx(100)
        assert metric(["zzz"] * 60, REFERENCES, n_bootstrap=0).value < 0.1
        assert metric([""] * 60, REFERENCES, n_bootstrap=0).value == 0


def test_several_references_may_differ_in_number_and_are_named():
    mixed = [[a, b] if i % 2 else [a] for i, (a, b) in enumerate(zip(REFERENCES, SECOND, strict=True))]
    one, both = bleu(TEXTS, REFERENCES, n_bootstrap=0), bleu(TEXTS, mixed, n_bootstrap=0)
    assert "nrefs:1|" in one.signature
    assert "nrefs:var|" in both.signature
    assert both.value > one.value, "more is right where more references are given"
    assert bleu(SECOND, [*zip(REFERENCES, SECOND, strict=True)], n_bootstrap=0).value == pytest.approx(100)
    assert bleu(TEXTS, [[r] for r in REFERENCES], n_bootstrap=0) == one


def test_chinese_is_counted_in_characters_if_asked():
    texts, references = ["我们喜欢读书", "他是老师"] * 3, ["我们爱读书", "他是老师"] * 3
    assert bleu(texts, references, n_bootstrap=0).value < bleu(texts, references, tokenize="zh", n_bootstrap=0).value
    assert "tok:zh" in bleu(texts, references, tokenize="zh", n_bootstrap=0).signature


def test_the_interval_is_reproducible_and_narrows_with_the_corpus():
    assert bleu(TEXTS, REFERENCES) == bleu(TEXTS, REFERENCES)
    assert bleu(TEXTS, REFERENCES, seed=1).low != bleu(TEXTS, REFERENCES, seed=2).low
    small, large = bleu(TEXTS, REFERENCES), bleu(TEXTS * 9, REFERENCES * 9)
    assert large.value == pytest.approx(small.value)
    assert (small.high - small.low) / (large.high - large.low) == pytest.approx(3, rel=0.2)  # √9


def test_the_interval_holds_the_truth_as_often_as_it_says():
    """The corpora are drawn from one large one, whose BLEU is the truth."""
    texts, references = _corpus(3000, 0.3, seed=2)
    truth = bleu(texts, references, n_bootstrap=0).value
    held = 0
    for k in range(40):
        part = slice(75 * k, 75 * (k + 1))
        score = bleu(texts[part], references[part], n_bootstrap=200)
        held += score.low <= truth <= score.high
    assert 33 <= held <= 40


def test_a_score_fits_a_card():
    score = bleu(TEXTS, REFERENCES, n_bootstrap=50)
    assert json.loads(json.dumps(score.as_dict())) == {
        "value": score.value, "low": score.low, "high": score.high, "signature": score.signature, "n": 60
    }  # fmt: skip
    without = bleu(TEXTS, REFERENCES, n_bootstrap=0)
    assert without.low is without.high is None
    assert "bs:" not in without.signature
    assert json.loads(json.dumps(compare(TEXTS, OTHERS, REFERENCES, n_bootstrap=50).as_dict()))["n"] == 60


# ── two systems ─────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("metric", ["bleu", "chrf"])
def test_comparison_equals_sacrebleus_paired_bootstrap(metric):
    from sacrebleu.significance import PairedTest

    counter = getattr(_sacrebleu().metrics, metric.upper())()
    _, found = PairedTest([("b", OTHERS), ("a", TEXTS)], {metric: counter}, [REFERENCES], "bs", n_samples=300)()
    theirs = next(value for name, value in found.items() if name != "System")
    ours = compare(TEXTS, OTHERS, REFERENCES, metric=metric, n_bootstrap=300)
    assert ours.value == pytest.approx(theirs[1].score - theirs[0].score)
    assert ours.p == pytest.approx(theirs[1].p_value, abs=0.005)
    assert ours.low < ours.value < ours.high


def test_comparison_sees_a_difference_and_none():
    better = compare(REFERENCES, OTHERS, REFERENCES, n_bootstrap=200)
    assert 0 < better.low < better.value
    assert better.p < 0.01
    worse = compare(OTHERS, REFERENCES, REFERENCES, n_bootstrap=200)
    assert (worse.value, worse.low, worse.high, worse.p) == (-better.value, -better.high, -better.low, better.p)
    same = compare(TEXTS, TEXTS, REFERENCES, n_bootstrap=200)
    assert (same.value, same.low, same.high, same.p) == (0, 0, 0, 1)


def test_pairing_narrows_the_interval():
    """Two like systems err on like sentences: their difference is surer than either figure."""
    alone, paired = bleu(TEXTS, REFERENCES), compare(TEXTS, OTHERS, REFERENCES)
    assert paired.high - paired.low < alone.high - alone.low


# ── by length ───────────────────────────────────────────────────────────────────────────────────


def test_buckets_hold_every_source_once():
    lengths = [len(reference.split()) for reference in REFERENCES]
    buckets = by_length(bleu, TEXTS, REFERENCES, lengths, edges=(4, 6, 9, 40, 50), n_bootstrap=0)
    assert [b.label for b in buckets] == ["1–4", "5–6", "7–9", "10–40", "41–50", "51+"]
    assert sum(b.n for b in buckets) == 60
    rows = [i for i, n in enumerate(lengths) if 7 <= n <= 9]
    assert buckets[2].n == len(rows)
    assert buckets[2].score == bleu([TEXTS[i] for i in rows], [REFERENCES[i] for i in rows], n_bootstrap=0)
    assert (buckets[4].n, buckets[4].score) == (0, None)
    alone = by_length(chrf, ["a b", "c"], ["a b", "c"], [2, 9], edges=(5,))
    assert [(b.n, b.score) for b in alone] == [(1, None), (1, None)], "one sentence is no corpus"


# ── perplexity ──────────────────────────────────────────────────────────────────────────────────

PAIRS = [([5, 6], [7, 8, 9]), ([6], []), ([9, 9, 5, 7], [5]), ([10], [12, 5, 6, 11, 7, 8]), ([8, 7], [9, 9])]
SIZES = {"d_model": 12, "n_heads": 2, "d_ff": 17}


def _rnn() -> nn.Module:
    return RNNTranslator(RNNConfig(n_source_vocab=11, n_target_vocab=13, d_embedding=5, d_hidden=7)).eval()


def _transformer() -> nn.Module:
    return Transformer(TransformerConfig(n_source_vocab=11, n_target_vocab=13, **SIZES)).eval()


@pytest.mark.parametrize("build", [_rnn, _transformer])
@pytest.mark.parametrize("batch_tokens", [1, 9, 2048])
def test_perplexity_by_its_definition(build, batch_tokens):
    model, total, n = build(), 0.0, 0
    for source, target in PAIRS:
        with torch.no_grad():
            logits = model(torch.tensor([[*source, EOS]]), torch.tensor([[BOS, *target]]))[0]
        for row, token in zip(logits, [*target, EOS], strict=True):
            total -= (row[token] - row.exp().sum().log()).item()
            n += 1
    score = perplexity(model, PAIRS, batch_tokens=batch_tokens)
    assert score.value == pytest.approx(math.exp(total / n), rel=1e-5)
    assert score.n == 5
    assert f"tokens:{n}" in score.signature
    assert score.low < score.value < score.high


@pytest.mark.parametrize("batch_tokens", [1, 9, 2048])
def test_perplexity_of_a_decoder_alone(batch_tokens):
    model, texts = DecoderOnly(DecoderOnlyConfig(n_vocab=13, **SIZES)).eval(), [target for _, target in PAIRS]
    total = 0.0
    for text in texts:
        with torch.no_grad():
            log_probs = model(torch.tensor([[BOS, *text]]))[0].log_softmax(-1)
        total -= sum(log_probs[t, token].item() for t, token in enumerate([*text, EOS]))
    score = text_perplexity(model, texts, batch_tokens=batch_tokens)
    assert score.value == pytest.approx(math.exp(total / (12 + 5)), rel=1e-5)


class _Constant(nn.Module):
    """The same logits everywhere."""

    def __init__(self, logits):
        super().__init__()
        self.logits = logits

    def forward(self, source, target_in):
        return self.logits.expand(*target_in.shape, -1)


def test_perplexity_of_known_models():
    score = perplexity(_Constant(torch.zeros(13)).eval(), PAIRS)
    assert (score.value, score.low, score.high) == pytest.approx((13, 13, 13)), (
        "who knows nothing hesitates between all"
    )
    impossible = torch.zeros(13)
    impossible[EOS] = -1e30
    assert math.isfinite(perplexity(_Constant(impossible).eval(), PAIRS).value)


# ── bad input ───────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(
    ("call", "message"),
    [
        (lambda: bleu(["a b c d"], ["a b c d"]), "figures of a corpus"),
        (lambda: chrf([], []), "figures of a corpus"),
        (lambda: bleu(["a", "b"], ["a"]), "2 texts, but references for 1"),
        (lambda: bleu(["a", "b"], ["a", " "]), r"references \[1\]"),
        (lambda: chrf(["a", "b"], [["a"], []]), r"references \[1\]"),
        (lambda: bleu(["a", "b"], ["a", "b"], n_bootstrap=-1), "n_bootstrap=-1"),
        (lambda: compare(["a", "b"], ["a"], ["a", "b"]), "1 text: BLEU and chrF"),
        (lambda: compare(["a", "b"], ["a", "b"], ["a", "b"], metric="rouge"), "metric='rouge'"),
        (lambda: compare(["a", "b"], ["a", "b"], ["a", "b"], n_bootstrap=0), "n_bootstrap=0"),
        (lambda: by_length(bleu, ["a"], ["a"], [1, 2]), "2 lengths, 1 texts"),
        (lambda: by_length(bleu, ["a"], ["a"], [1], edges=(5, 5)), r"edges=\(5, 5\)"),
        (lambda: by_length(bleu, ["a"], ["a"], [0]), "lengths start at 1"),
        (lambda: perplexity(_rnn(), []), "no texts"),
        (lambda: perplexity(_rnn(), [([5], [6]), ([], [6])]), r"pairs \[1\]"),
        (lambda: perplexity(_rnn(), PAIRS, batch_tokens=0), "batch_tokens=0"),
        (lambda: perplexity(_rnn().train(), PAIRS), r"training mode.*model.eval"),
    ],
)
def test_what_makes_no_sense_is_refused(call, message):
    with pytest.raises(ValueError, match=message):
        call()


def test_ids_instead_of_texts_are_refused():
    """Under pytest the type checks refuse them first; readers have no such checks."""
    with pytest.raises(ValueError, match=r"texts \[0, 1\] are not text but list"):
        scoring._statistics.__wrapped__(_sacrebleu().metrics.BLEU(), [[5, 6], [7]], ["a", "b"])


def test_without_sacrebleu_the_module_is_there_and_says_what_to_do(monkeypatch):
    monkeypatch.setitem(sys.modules, "sacrebleu.metrics", None)
    with pytest.raises(ImportError, match="pip install sacrebleu"):
        bleu(TEXTS, REFERENCES)
    code = "import sys, attention_decoded.scoring as s; assert 'sacrebleu' not in sys.modules; print(s.Score.__name__)"
    result = subprocess.run([sys.executable, "-W", "error", "-c", code], capture_output=True, text=True, check=True)
    assert result.stdout.strip() == Score.__name__
