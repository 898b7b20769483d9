"""The masked language model: the formula of its docstring, its laws, and what it must not do."""

import dataclasses

import pytest
import torch
import torch.nn.functional as F
from torch import nn
from torch.testing import assert_close

from attention_decoded.attention import padding_mask
from attention_decoded.capture import capture
from attention_decoded.masked_lm import Block, MaskedLanguageModel, MaskedLanguageModelConfig, build_masked_lm

# Unequal primes wherever a size is free; d_model is 3 heads of width 7.
CONFIG = MaskedLanguageModelConfig(n_vocab=31, d_model=21, n_heads=3, n_layers=2, d_ff=37, max_len=13)
N_BATCH, N = 2, 11


@pytest.fixture
def model() -> MaskedLanguageModel:
    model = MaskedLanguageModel(CONFIG).eval()
    for parameter in model.parameters():  # norms and the bias start trivial; nothing may hide behind that
        nn.init.normal_(parameter, std=0.3)
    return model


@pytest.fixture
def ids() -> torch.Tensor:
    return torch.randint(5, CONFIG.n_vocab, (N_BATCH, N))


def by_hand(state: dict[str, torch.Tensor], ids: torch.Tensor) -> torch.Tensor:
    """Logits for one sentence from the tensors of the checkpoint alone, written without nn.Module.

    This is what the page computes, so the names of the tensors are part of the test.
    """

    def norm(x: torch.Tensor, name: str) -> torch.Tensor:
        centred = x - x.mean(-1, keepdim=True)
        variance = centred.square().mean(-1, keepdim=True)  # of the population: divide by n, not n − 1
        return centred / (variance + 1e-5).sqrt() * state[f"{name}.weight"] + state[f"{name}.bias"]

    x = state["token.weight"][ids] + state["position.weight"][: len(ids)]
    d_head = CONFIG.d_model // CONFIG.n_heads
    for layer in range(CONFIG.n_layers):
        at = f"blocks.{layer}"
        y = norm(x, f"{at}.norm_attention")
        q, k, v = (y @ state[f"{at}.attention.to_{name}.weight"].T for name in "qkv")
        heads = []
        for head in range(CONFIG.n_heads):
            part = slice(head * d_head, (head + 1) * d_head)
            scores = q[:, part] @ k[:, part].T / d_head**0.5
            heads.append((scores.exp() / scores.exp().sum(-1, keepdim=True)) @ v[:, part])
        x = x + torch.cat(heads, -1) @ state[f"{at}.attention.to_out.weight"].T
        y = norm(x, f"{at}.norm_ff") @ state[f"{at}.ff.0.weight"].T + state[f"{at}.ff.0.bias"]
        x = x + y.clamp(min=0) @ state[f"{at}.ff.2.weight"].T + state[f"{at}.ff.2.bias"]
    return norm(x, "norm") @ state["token.weight"].T + state["bias"]


def test_pitfall_13_pre_norm_formula_agrees_with_the_module(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    with torch.no_grad():
        assert_close(model(ids)[1], by_hand(model.state_dict(), ids[1]), rtol=1e-4, atol=1e-4)


def test_state_dict_has_these_names_and_shapes_and_no_other(model: MaskedLanguageModel) -> None:
    d, ff = CONFIG.d_model, CONFIG.d_ff
    block = {
        "norm_attention.weight": (d,), "norm_attention.bias": (d,), "norm_ff.weight": (d,), "norm_ff.bias": (d,),
        "attention.to_q.weight": (d, d), "attention.to_k.weight": (d, d), "attention.to_v.weight": (d, d),
        "attention.to_out.weight": (d, d), "ff.0.weight": (ff, d), "ff.0.bias": (ff,), "ff.2.weight": (d, ff),
        "ff.2.bias": (d,),
    }  # fmt: skip
    expected = {"token.weight": (31, d), "position.weight": (13, d), "norm.weight": (d,), "norm.bias": (d,)}
    expected |= {"bias": (31,)}
    expected |= {f"blocks.{layer}.{name}": shape for layer in range(2) for name, shape in block.items()}
    assert {name: tuple(tensor.shape) for name, tensor in model.state_dict().items()} == expected


def test_pitfall_28_output_matrix_is_the_token_table(model: MaskedLanguageModel) -> None:
    """Tied, and said so: there is one table, it gets gradient from both ends, and no other n_vocab matrix exists."""
    tables = [p for p in model.parameters() if p.ndim == 2 and p.shape[0] == CONFIG.n_vocab]
    assert len(tables) == 1
    assert tables[0] is model.token.weight
    x = torch.randn(CONFIG.d_model)
    before = model.to_logits(x)
    with torch.no_grad():
        model.token.weight[7] += 1
    changed = (model.to_logits(x) != before).nonzero().flatten().tolist()
    assert changed == [7]


def test_pitfall_08_eval_is_deterministic_and_train_is_not(ids: torch.Tensor) -> None:
    model = MaskedLanguageModel(dataclasses.replace(CONFIG, dropout=0.5))
    assert not torch.equal(model.train()(ids), model(ids))
    assert torch.equal(model.eval()(ids), model(ids))


def test_pitfall_10_padding_changes_nothing_bit_for_bit_where_it_is_masked(model: MaskedLanguageModel) -> None:
    """Whatever stands in the padding, real positions do not see it."""
    lengths = torch.tensor([7, N])
    one = torch.randint(5, CONFIG.n_vocab, (2, N))
    other = one.clone()
    other[0, 7:] = 3
    mask = padding_mask(lengths, N)
    a, b = model(one, mask), model(other, mask)
    assert torch.equal(a[0, :7], b[0, :7])
    assert torch.equal(a[1], b[1])
    assert not torch.equal(model(one)[0, :7], model(other)[0, :7])  # without the mask it would have leaked


def test_padded_batch_equals_sentences_alone(model: MaskedLanguageModel) -> None:
    ids = torch.randint(5, CONFIG.n_vocab, (2, N))
    ids[0, 5:] = 0
    batch = model(ids, padding_mask(torch.tensor([5, N]), N))
    assert_close(batch[0, :5], model(ids[:1, :5])[0], rtol=1e-4, atol=1e-5)
    assert_close(batch[1], model(ids[1:])[0], rtol=1e-4, atol=1e-5)


def test_it_looks_both_ways(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    """Not a causal model: changing the last token changes the first position's guess."""
    other = ids.clone()
    other[:, -1] = (ids[:, -1] - 5 + 1) % (CONFIG.n_vocab - 5) + 5
    assert (model(ids)[:, 0] - model(other)[:, 0]).abs().max() > 1e-3


def test_without_positions_order_is_invisible(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    nn.init.zeros_(model.position.weight)
    order = torch.randperm(N)
    assert_close(model(ids[:, order]), model(ids)[:, order], rtol=1e-4, atol=1e-4)


def test_with_positions_order_counts(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    order = torch.arange(N).roll(1)
    assert (model(ids[:, order]) - model(ids)[:, order]).abs().max() > 1e-2


def test_states_run_from_static_to_contextual(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    states = model.streams(ids)
    assert len(states) == CONFIG.n_layers + 1
    assert torch.equal(states[0], model.token(ids) + model.position.weight[:N])
    assert torch.equal(model.to_logits(states[-1]), model(ids))


def test_pitfall_27_a_cut_edge_carries_nothing() -> None:
    """With the edge from query 4 to key 7 cut, what stands at 7 cannot reach 4 in that block; all else still can."""
    block = Block(CONFIG).eval()
    mask = torch.ones(1, 1, N, N, dtype=torch.bool)
    mask[..., 4, 7] = False
    x = torch.randn(1, N, CONFIG.d_model)
    other = x.clone()
    other[0, 7] += 1 + torch.rand(CONFIG.d_model)
    changed = (block(x, mask) != block(other, mask)).any(-1)[0]
    assert changed.tolist() == [position != 4 for position in range(N)]
    assert (block(x) != block(other)).any(-1).all()


def test_captured_rows_sum_to_one_and_name_their_layer(model: MaskedLanguageModel, ids: torch.Tensor) -> None:
    with capture(model) as records, torch.no_grad():
        model(ids)
    assert [record.name for record in records] == ["blocks.0.attention.attend", "blocks.1.attention.attend"]
    for record in records:
        assert record.weights.shape == (N_BATCH, 3, N, N)
        assert_close(record.weights.sum(-1), torch.ones(N_BATCH, 3, N))


def test_too_long_a_sentence_is_refused(model: MaskedLanguageModel) -> None:
    with pytest.raises(ValueError, match="14 tokens are more than the 13 positions"):
        model(torch.full((1, 14), 5))


def test_first_guesses_are_near_uniform() -> None:
    """The initial loss is close to that of not knowing anything: log of the vocabulary."""
    model = MaskedLanguageModel(MaskedLanguageModelConfig(n_vocab=997))
    ids = torch.randint(5, 997, (17, 11))
    loss = F.cross_entropy(model(ids).flatten(0, 1), torch.randint(5, 997, (17 * 11,)))
    assert abs(loss.item() - torch.tensor(997.0).log().item()) < 1.0


def test_block_adds_and_does_not_replace(ids: torch.Tensor) -> None:
    """With both parts silenced, a block is the identity: the residual stream passes through."""
    block = Block(CONFIG)
    for parameter in (block.attention.to_out.weight, block.ff[2].weight, block.ff[2].bias):
        nn.init.zeros_(parameter)
    x = torch.randn(N_BATCH, N, CONFIG.d_model)
    assert torch.equal(block(x), x)


def test_a_config_builds_its_model() -> None:
    model = build_masked_lm(dataclasses.asdict(CONFIG))
    assert model.config == CONFIG
    with pytest.raises(TypeError, match="n_words"):
        build_masked_lm({"n_vocab": 31, "n_words": 3})


def test_it_learns_what_only_attention_can_know() -> None:
    """First token copied to the end: the last position can only know it by looking at the first."""
    torch.manual_seed(0)
    model = MaskedLanguageModel(
        MaskedLanguageModelConfig(n_vocab=17, d_model=20, n_heads=2, n_layers=2, d_ff=23, max_len=5)
    )
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    for _ in range(150):
        ids = torch.randint(5, 17, (61, 5))
        truth = ids[:, 0].clone()
        ids[:, -1] = 4
        loss = F.cross_entropy(model(ids)[:, -1], truth)
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    assert (model(ids)[:, -1].argmax(-1) == truth).float().mean() > 0.95
    for block in model.blocks:
        nn.init.zeros_(block.attention.to_out.weight)
    assert (model(ids)[:, -1].argmax(-1) == truth).float().mean() < 0.4
