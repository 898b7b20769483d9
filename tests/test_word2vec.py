"""`word2vec.py`: the loss against gensim's own update, the samplers against their laws."""

import math
import sys

import numpy as np
import pytest
import torch
from torch.testing import assert_close

from attention_decoded.word2vec import (
    WordVectors,
    draw_negatives,
    evaluate_analogies,
    evaluate_similarity,
    keep_probability,
    nearest,
    skip_gram_pairs,
    train_gensim,
)


def _model(n_vocab: int = 7, d_latent: int = 5) -> WordVectors:
    model = WordVectors(n_vocab, d_latent)
    with torch.no_grad():
        model.center.normal_(generator=torch.Generator().manual_seed(1))
        model.context.normal_(generator=torch.Generator().manual_seed(2))
    return model


def test_skip_gram_loss_by_hand():
    model = _model()
    loss = model.skip_gram_loss(torch.tensor([3]), torch.tensor([1]), torch.tensor([[0, 6]]))
    w, sigmoid = model.center[3], torch.sigmoid
    expected = -(sigmoid(w @ model.context[1]).log() + sigmoid(-w @ model.context[0]).log())
    assert_close(loss[0], expected - sigmoid(-w @ model.context[6]).log())


def test_cbow_ignores_empty_places():
    model, words, negatives = _model(), torch.tensor([2]), torch.tensor([[4]])
    padded = model.cbow_loss(torch.tensor([[1, -1, 5, -1]]), words, negatives)
    assert_close(padded, model.cbow_loss(torch.tensor([[1, 5]]), words, negatives))
    one = model.cbow_loss(torch.tensor([[3]]), torch.tensor([1]), torch.tensor([[0, 6]]))
    assert_close(one, model.skip_gram_loss(torch.tensor([3]), torch.tensor([1]), torch.tensor([[0, 6]])))


def test_cbow_loss_by_hand():
    model = _model()
    loss = model.cbow_loss(torch.tensor([[1, 5, 3], [2, -1, 2]]), torch.tensor([4, 0]), torch.tensor([[0, 6], [1, 1]]))
    for row, (window, word, negatives) in enumerate((((1, 5, 3), 4, (0, 6)), ((2, 2), 0, (1, 1)))):
        mean = sum(model.center[i] for i in window) / len(window)
        expected = torch.sigmoid(mean @ model.context[word]).log()
        expected = expected + sum(torch.sigmoid(-mean @ model.context[i]).log() for i in negatives)
        assert_close(loss[row], -expected)


def _step(tables: np.ndarray, pairs, negative: int, rate: float, sigmoid) -> np.ndarray:
    """Gradient descent on skip-gram's loss, written out: both tables after each (given, predicted) pair in turn."""
    center, context = tables.astype(np.float64)
    for given, predicted in pairs:
        x, change = center[given].copy(), 0.0
        for word, label in ((predicted, 1), (negative, 0)):
            error = rate * (label - sigmoid(x @ context[word]))
            change = change + error * context[word]
            context[word] = context[word] + error * x
        center[given] = x + change
    return np.stack([center, context])


def test_a_step_equals_gensims_step():
    """One sentence of two words, the negative forced to a third: our gradient and gensim's step are one formula.

    gensim reads its sigmoid from a table of 1,000 places between -6 and 6, with an index rounded down twice; with
    that table in the formula, gensim's step is met to 1e-6, and with the true sigmoid ours is.
    """
    gensim = pytest.importorskip("gensim", reason="gensim is the reference, and is installed for tests only")
    rate = 0.5
    theirs = gensim.models.Word2Vec(
        sg=1, hs=0, negative=1, window=1, min_count=1, vector_size=5, sample=0, workers=1, seed=3
    )
    theirs.build_vocab([["a", "b"], ["c"]])
    a, b, c = (theirs.wv.key_to_index[word] for word in "abc")
    theirs.cum_table = np.array([0] * c + [2**31 - 1] * (3 - c), dtype=np.uint32)  # every draw is c
    start = np.random.default_rng(0).normal(scale=0.5, size=(2, 3, 5)).astype(np.float32)
    theirs.wv.vectors[:], theirs.syn1neg[:] = start[0], start[1]
    ours = _model(3)
    with torch.no_grad():
        ours.center.copy_(torch.tensor(start[0]))
        ours.context.copy_(torch.tensor(start[1]))

    theirs.train([["a", "b"]], total_examples=1, epochs=1, start_alpha=rate, end_alpha=rate)
    pairs = ((b, a), (a, b))  # gensim's skip-gram feeds the neighbour and predicts the word
    for given, predicted in pairs:
        loss = ours.skip_gram_loss(torch.tensor([given]), torch.tensor([predicted]), torch.tensor([[c]])).sum()
        gradients = torch.autograd.grad(loss, [ours.center, ours.context])
        with torch.no_grad():
            ours.center -= rate * gradients[0]
            ours.context -= rate * gradients[1]

    places = np.exp((np.arange(1000) / 1000 * 2 - 1) * 6)
    places = places / (places + 1)
    by_table = _step(start, pairs, c, rate, lambda x: places[int((x + 6) * (1000 // 6 // 2))])
    exact = _step(start, pairs, c, rate, lambda x: 1 / (1 + math.exp(-x)))
    assert np.abs(theirs.wv.vectors - start[0]).max() > 0.1, "gensim did not take the step"
    for table, found, expected in zip(
        ("gensim's", "gensim's", "ours", "ours"),
        (theirs.wv.vectors, theirs.syn1neg, ours.center.detach().numpy(), ours.context.detach().numpy()),
        (*by_table, *exact),
        strict=True,
    ):
        np.testing.assert_allclose(found, expected, atol=1e-6, rtol=0, err_msg=table)


def test_pitfall_25_negatives_never_contain_the_positive():
    counts, positives = torch.tensor([100.0, 5.0, 1.0, 0.0]), torch.randint(0, 3, (2000,))
    drawn = draw_negatives(counts, positives, 5, generator=torch.Generator().manual_seed(0))
    assert not (drawn == positives[:, None]).any()
    assert not (drawn == 3).any(), "a word that never occurs is never drawn"


def test_negatives_follow_the_counts_to_the_three_quarters():
    counts = torch.tensor([81.0, 16.0, 1.0, 1.0])
    positives = torch.full((40_000,), 3)
    drawn = draw_negatives(counts, positives, 1, generator=torch.Generator().manual_seed(0))
    shares = torch.bincount(drawn.flatten(), minlength=4)[:3] / 40_000
    assert_close(shares, torch.tensor([27.0, 8.0, 1.0]) / 36, atol=0.01, rtol=0)


def test_frequent_words_are_thinned_and_rare_ones_kept():
    counts = torch.tensor([90_000.0, 9_900.0, 100.0])
    kept = keep_probability(counts, 1e-3)
    assert kept[2] == 1.0
    assert kept[0] < kept[1] < 1
    assert kept[0].item() == pytest.approx(math.sqrt(1e-3 / 0.9) + 1e-3 / 0.9)


@pytest.mark.parametrize(("counts", "threshold"), [([0.0, 0.0], 1e-3), ([-1.0, 2.0], 1e-3), ([1.0, 2.0], 0.0)])
def test_subsampling_refuses_what_gives_no_probability(counts, threshold):
    with pytest.raises(ValueError, match=f"threshold={threshold}, counts from .* a threshold is above zero"):
        keep_probability(torch.tensor(counts), threshold)


def test_pairs_stay_in_the_window_and_in_the_sentence():
    sentence = list(range(11))
    pairs = list(skip_gram_pairs(sentence, 3, torch.Generator().manual_seed(0)))
    assert all(0 < abs(a - b) <= 3 for a, b in pairs)
    assert {(a, a + 1) for a in range(10)} <= set(pairs), "the next word is always within reach"
    with pytest.raises(ValueError, match="window=0"):
        next(skip_gram_pairs(sentence, 0))


def test_near_neighbours_count_more():
    """With a reach of 1 … 3, each as likely: the next word always, the second in two of three, the third in one."""
    g, n, seen = torch.Generator().manual_seed(5), 3000, {1: 0, 2: 0, 3: 0}
    for _ in range(n):
        for a, b in skip_gram_pairs(range(7), 3, g):
            if a == 3:  # it has three words on either side
                seen[abs(a - b)] += 1
    for distance, share in ((1, 1.0), (2, 2 / 3), (3, 1 / 3)):
        assert seen[distance] / (2 * n) == pytest.approx(share, abs=0.03)


def test_analogies_by_their_definition():
    """b − a + c of unit vectors, and the nearest of the others; vectors of unlike lengths, so that unit matters."""
    g = np.random.default_rng(4)
    vectors = g.normal(size=(31, 5)) * g.uniform(0.1, 9, size=(31, 1))
    unit = vectors / np.linalg.norm(vectors, axis=1, keepdims=True)
    questions = []
    for a, b, c in g.permuted(np.tile(np.arange(31), (60, 1)), axis=1)[:, :3]:
        cosines = unit @ (unit[b] - unit[a] + unit[c])
        cosines[[a, b, c]] = -9
        questions.append(tuple(f"w{i}" for i in (a, b, c, cosines.argmax())))
    index = {f"w{i}": i for i in range(31)}
    assert evaluate_analogies(torch.tensor(vectors), index, questions) == (1.0, 60)


def test_training_brings_words_with_the_same_neighbours_together():
    """'cat' and 'dog' share their neighbours, 'car' has others: a corpus small enough to know the answer."""
    words = ["cat", "dog", "car", "purrs", "eats", "drives", "parks"]
    index = {word: i for i, word in enumerate(words)}
    contexts = {"cat": ("purrs", "eats"), "dog": ("purrs", "eats"), "car": ("drives", "parks")}
    pairs = torch.tensor([(index[w], index[c]) for w, cs in contexts.items() for c in cs])
    g = torch.Generator().manual_seed(0)
    model, counts = WordVectors(7, 5, generator=g), torch.ones(7)
    optimizer = torch.optim.Adam(model.parameters(), lr=0.05)
    for _ in range(200):
        negatives = draw_negatives(counts, pairs[:, 1], 3, generator=g)
        loss = model.skip_gram_loss(pairs[:, 0], pairs[:, 1], negatives).mean()
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    vectors = model.center.detach()
    assert nearest(vectors[:3], vectors[index["cat"]], 1, exclude=[index["cat"]])[0][0] == index["dog"]
    left = nearest(vectors[:3], vectors[0], 3, exclude=[0, 0])
    assert {i for i, _ in left} == {1, 2}, "what is left out does not come back, however many are asked for"


def test_evaluations_know_the_answer_of_made_up_vectors():
    index = {"man": 0, "king": 1, "woman": 2, "queen": 3, "stone": 4}
    vectors = torch.tensor([[1.0, 0, 0], [1, 1, 0], [1, 0, 1], [1, 1, 1], [-1, 0, 0]])
    assert evaluate_analogies(vectors, index, [("man", "king", "woman", "queen")]) == (1.0, 1)
    assert evaluate_analogies(vectors, index, [("man", "king", "woman", "stone"), ("x", "y", "z", "w")]) == (0.0, 1)
    pairs = [("man", "king", 9.0), ("man", "stone", 1.0), ("king", "queen", 9.5), ("man", "moon", 3.0)]
    result = evaluate_similarity(vectors, index, pairs)
    assert (result.spearman, result.n_pairs, result.n_unknown) == (pytest.approx(1.0), 3, 1)
    with pytest.raises(ValueError, match="only 0 pairs have both words"):
        evaluate_similarity(vectors, {}, pairs)


def test_gensim_is_told_which_of_the_two_models():
    gensim = pytest.importorskip("gensim", reason="gensim is the reference, and is installed for tests only")
    sentences = [["tea", "is", "hot"], ["milk", "is", "cold"], ["tea", "and", "milk"]] * 9
    options = {"min_count": 1, "seed": 3, "workers": 1, "sample": 0, "vector_size": 7}
    both = {}
    for skip_gram in (True, False):
        kwargs = {name: value for name, value in options.items() if name != "vector_size"}
        both[skip_gram] = train_gensim(sentences, skip_gram=skip_gram, d_latent=7, **kwargs).vectors
        theirs = gensim.models.Word2Vec(sentences, sg=int(skip_gram), **options).wv.vectors
        assert np.array_equal(both[skip_gram], theirs)
    assert not np.array_equal(both[True], both[False])


def test_without_gensim_the_error_names_the_way_out(monkeypatch):
    monkeypatch.setitem(sys.modules, "gensim.models", None)
    with pytest.raises(ImportError, match="pip install gensim"):
        train_gensim([["a", "b"]])
