"""`rnn.py` against the papers' formulas written out a second time, with einsum and nothing shared."""

import pytest
import torch
from torch.testing import assert_close

from attention_decoded.rnn import AdditiveAttention, RNNConfig, RNNTranslator

SOURCE = torch.tensor([[5, 3, 7, 2, 9], [4, 8, 0, 0, 0], [6, 6, 2, 0, 0]])
TARGET = torch.tensor([[2, 7, 4, 5], [2, 3, 3, 9], [2, 10, 1, 6]])


def _model(attention: bool) -> RNNTranslator:
    torch.manual_seed(1)
    config = RNNConfig(n_source_vocab=11, n_target_vocab=13, d_embedding=5, d_hidden=7, attention=attention)
    return RNNTranslator(config).eval()


def _gru(weight_ih, weight_hh, bias_ih, bias_hh, x, h):
    """One GRU step as in Cho et al. (with the reset gate inside, as cuDNN and PyTorch have it)."""
    d = len(h)
    gates_x = torch.einsum("gi,i->g", weight_ih, x) + bias_ih
    gates_h = torch.einsum("gi,i->g", weight_hh, h) + bias_hh
    reset, update = (torch.sigmoid(gates_x[k * d : (k + 1) * d] + gates_h[k * d : (k + 1) * d]) for k in (0, 1))
    new = torch.tanh(gates_x[2 * d :] + reset * gates_h[2 * d :])
    return (1 - update) * new + update * h


def _reference(model: RNNTranslator, source: list[int], target: list[int]) -> torch.Tensor:
    w = dict(model.named_parameters())
    x = [w["source_embedding.weight"][i] for i in source]

    def run(suffix: str, xs):
        h, states = torch.zeros(7), []
        for x_t in xs:
            h = _gru(*(w[f"encoder.{n}_l0{suffix}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), x_t, h)
            states.append(h)
        return states

    forward, backward = run("", x), run("_reverse", x[::-1])
    memory = torch.stack([torch.cat(pair) for pair in zip(forward, backward[::-1], strict=True)])
    code = torch.cat([forward[-1], backward[-1]])
    s = torch.tanh(w["to_start.weight"] @ code + w["to_start.bias"])
    logits = []
    for i in target:
        c = code
        if model.attention is not None:
            keys = torch.einsum("aj,sj->sa", w["attention.to_k.weight"], memory) + w["attention.to_k.bias"]
            hidden = torch.tanh(torch.einsum("aj,j->a", w["attention.to_q.weight"], s)[None] + keys)
            scores = torch.einsum("a,sa->s", w["attention.to_score.weight"][0], hidden)
            c = torch.einsum("s,sm->m", scores.exp() / scores.exp().sum(), memory)
        y = w["target_embedding.weight"][i]
        s = _gru(*(w[f"cell.{n}"] for n in ("weight_ih", "weight_hh", "bias_ih", "bias_hh")), torch.cat([y, c]), s)
        t = w["readout.weight"] @ torch.cat([s, c, y]) + w["readout.bias"]
        t = torch.stack([torch.maximum(t[2 * j], t[2 * j + 1]) for j in range(len(t) // 2)])
        logits.append(w["to_vocab.weight"] @ t + w["to_vocab.bias"])
    return torch.stack(logits)


@pytest.mark.parametrize("attention", [False, True])
def test_equals_the_formulas_written_independently(attention):
    model = _model(attention)
    with torch.no_grad():
        logits = model(SOURCE, TARGET)
        for row, source, target in zip(logits, SOURCE.tolist(), TARGET.tolist(), strict=True):
            assert_close(row, _reference(model, [i for i in source if i], target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("attention", [False, True])
def test_pitfall_03_stepwise_equals_teacher_forced(attention):
    model = _model(attention)
    with torch.no_grad():
        state, logits = model.start(SOURCE), model(SOURCE, TARGET)
        for t in range(TARGET.shape[1]):
            step, state = model.step(TARGET[:, t], state)
            assert_close(step, logits[:, t])


@pytest.mark.parametrize("attention", [False, True])
def test_padding_changes_nothing(attention):
    model = _model(attention)
    longer = torch.nn.functional.pad(SOURCE, (0, 3))
    with torch.no_grad():
        assert_close(model(longer, TARGET), model(SOURCE, TARGET))


def test_attention_weights_are_an_average_of_the_real_words():
    model = _model(True)
    with torch.no_grad():
        _, state = model.step(TARGET[:, 0], model.start(SOURCE))
    assert_close(state["weights"].sum(-1), torch.ones(3))
    assert not state["weights"][SOURCE == 0].any()


def test_the_fixed_code_is_all_that_the_decoder_knows():
    """Swap two sentences' codes and start states: the translations swap, whatever else was in the batch."""
    model = _model(False)
    with torch.no_grad():
        state = model.start(SOURCE)
        assert set(state) == {"hidden", "code"}
        swapped = {k: v[[1, 0, 2]] for k, v in state.items()}
        same = TARGET[:1, 0].expand(3)
        assert_close(model.step(same, swapped)[0], model.step(same, state)[0][[1, 0, 2]])


def test_an_empty_sentence_is_refused():
    with pytest.raises(ValueError, match="empty"):
        _model(True).start(torch.zeros(2, 3, dtype=torch.long))


@pytest.mark.parametrize("attention", [True, False])
def test_padding_on_the_left_is_refused(attention):
    with pytest.raises(ValueError, match="it belongs on the right"):
        _model(attention).start(torch.tensor([[0, 5, 6], [5, 6, 7]]))


def test_pitfall_11_a_query_that_may_look_nowhere_gets_nothing():
    attention = AdditiveAttention(5, 7, 3)
    memory, mask = torch.randn(2, 4, 7), torch.tensor([[True, True, False, True], [False] * 4])
    average, weights = attention(torch.randn(2, 5), memory, attention.to_k(memory), mask)
    assert_close(weights.sum(-1), torch.tensor([1.0, 0.0]))
    assert weights[0, 2] == 0
    assert not average[1].any()
