"""`transformer.py`: the formulas written a second time, PyTorch's and Hugging Face's models as references, and laws.

Sizes are unequal and mostly prime, so that swapped axes cannot pass. Sentences end in padding (id 0).
"""

import copy
import math
from collections.abc import Callable
from dataclasses import fields
from functools import partial
from itertools import product

import pytest
import torch
from torch import Tensor, nn
from torch.nn.functional import cross_entropy, pad
from torch.testing import assert_close

from attention_decoded.attention import causal_mask
from attention_decoded.capture import capture
from attention_decoded.masked_lm import MaskedLanguageModelConfig
from attention_decoded.positions import sinusoids
from attention_decoded.rnn import RNNConfig
from attention_decoded.transformer import (
    DecoderOnly,
    DecoderOnlyConfig,
    Positions,
    Transformer,
    TransformerConfig,
    build_decoder_only,
    build_transformer,
)

N_SOURCE, N_TARGET, N_HEADS, D_HEAD, D_FF = 23, 19, 3, 14, 29
D_MODEL = N_HEADS * D_HEAD
NORMS = ("pre", "post")
POSITIONS = ("sinusoidal", "learned", "relative", "alibi", "rotary")
KINDS = [pytest.param(*kind, id="-".join(kind)) for kind in product(NORMS, POSITIONS)]
SOURCE = torch.tensor([[5, 13, 7, 22, 9, 11, 3], [4, 8, 3, 0, 0, 0, 0], [6, 16, 2, 17, 3, 0, 0]])
TARGET = torch.tensor([[2, 7, 4, 15, 18], [2, 3, 13, 9, 0], [2, 10, 0, 0, 0]])
IDS = TARGET[:, 1:]


def _shaken(model):
    """Every parameter random, also biases, norms and relative tables, which start as zeros or ones."""
    with torch.no_grad():
        for name, parameter in model.named_parameters():
            if parameter.dim() < 2 or "relative" in name:
                parameter += 0.5 * torch.randn_like(parameter)
    return model.eval()


def _translator(norm: str = "pre", positions: str = "sinusoidal", **others) -> Transformer:
    sizes = {"d_model": D_MODEL, "n_heads": N_HEADS, "d_ff": D_FF, "n_encoder_layers": 2, "n_decoder_layers": 3}
    vocabularies = {"n_source_vocab": N_SOURCE, "n_target_vocab": N_TARGET}
    return _shaken(build_transformer({**vocabularies, **sizes, "norm": norm, "positions": positions, **others}))


def _completer(norm: str = "pre", positions: str = "sinusoidal", **others) -> DecoderOnly:
    sizes = {"n_vocab": N_TARGET, "d_model": D_MODEL, "n_heads": N_HEADS, "d_ff": D_FF, "n_layers": 3}
    return _shaken(build_decoder_only({**sizes, "norm": norm, "positions": positions, **others}))


@pytest.fixture(autouse=True)
def no_gradients():
    """Laws need none; the test that trains turns them on."""
    with torch.no_grad():
        yield


# ── the formulas, written a second time ─────────────────────────────────────────────────────────
# One sentence, no batch, no padding, one head at a time, nothing of the package but its numbers.


class Formula:
    """A Transformer after the papers, over a state_dict; `prefix` names a stack, `bias` its distance table."""

    def __init__(self, model: nn.Module, norm: str, positions: str):
        self.w, self.norm, self.positions = model.state_dict(), norm, positions

    def layer_norm(self, x: Tensor, name: str) -> Tensor:
        """Population variance, eps under the root."""
        centred = x - x.mean(-1, keepdim=True)
        deviation = (centred.square().sum(-1, keepdim=True) / x.shape[-1] + 1e-5).sqrt()
        return centred / deviation * self.w[f"{name}.weight"] + self.w[f"{name}.bias"]

    def turn(self, x: Tensor) -> Tensor:
        """Entries (2i, 2i+1) as one complex number, turned by position · 10000^(−2i/d)."""
        n, d = x.shape
        speed = torch.tensor([10_000 ** (-2 * i / d) for i in range(d // 2)])
        angle = torch.einsum("p,i->pi", torch.arange(n).float(), speed)
        turned = torch.view_as_complex(x.reshape(n, d // 2, 2).contiguous()) * torch.polar(torch.ones(n, d // 2), angle)
        return torch.view_as_real(turned).reshape(n, d)

    def distance(self, head: int, i: int, j: int, stack: str) -> Tensor | float:
        """What query i adds to its score of key j."""
        if self.positions == "alibi":
            slopes = {3: [2**-4, 2**-8, 2**-2]}[N_HEADS]  # of two heads, and the first of four between them
            return -slopes[head] * abs(i - j)
        if self.positions == "relative":
            two_sided = stack == "source_positions"  # 16 buckets for each side; up to 8 places they are exact
            bucket = abs(i - j) + (16 if two_sided and j > i else 0) if two_sided or j <= i else 0
            return self.w[f"{stack}.relative.table.weight"][bucket, head]
        return 0.0

    def attention(self, name: str, x: Tensor, context: Tensor, stack: str | None, causal: bool) -> Tensor:
        """`stack` is None for a look at the memory, where no distance counts."""
        heads = []
        for h in range(N_HEADS):
            part = slice(h * D_HEAD, (h + 1) * D_HEAD)
            q = torch.einsum("dm,pm->pd", self.w[f"{name}.to_q.weight"][part], x)
            k = torch.einsum("dm,pm->pd", self.w[f"{name}.to_k.weight"][part], context)
            v = torch.einsum("dm,pm->pd", self.w[f"{name}.to_v.weight"][part], context)
            if stack and self.positions == "rotary":
                q, k = self.turn(q), self.turn(k)
            rows = []
            for i in range(len(q)):
                seen = range(i + 1) if causal else range(len(k))
                scores = [q[i].dot(k[j]) / D_HEAD**0.5 + (self.distance(h, i, j, stack) if stack else 0) for j in seen]
                e = torch.stack(scores).exp()
                rows.append(torch.einsum("j,jd->d", e / e.sum(), v[: len(scores)]))
            heads.append(torch.stack(rows))
        return torch.einsum("mc,pc->pm", self.w[f"{name}.to_out.weight"], torch.cat(heads, dim=1))

    def ff(self, name: str, x: Tensor) -> Tensor:
        hidden = (x @ self.w[f"{name}.0.weight"].T + self.w[f"{name}.0.bias"]).clamp(min=0)
        return hidden @ self.w[f"{name}.2.weight"].T + self.w[f"{name}.2.bias"]

    def join(self, x: Tensor, norm: str, part: Callable[[Tensor], Tensor]) -> Tensor:
        """Pre-norm: x + part(norm(x)). Post-norm: norm(x + part(x))."""
        return x + part(self.layer_norm(x, norm)) if self.norm == "pre" else self.layer_norm(x + part(x), norm)

    def embed(self, table: str, ids: list[int], stack: str) -> Tensor:
        rows = []
        for p, i in enumerate(ids):
            x = self.w[f"{table}.weight"][i] * D_MODEL**0.5
            if self.positions == "learned":
                x = x + self.w[f"{stack}.table.weight"][p]
            elif self.positions == "sinusoidal":
                speeds = [10_000 ** (-2 * (j // 2) / D_MODEL) for j in range(D_MODEL)]
                x = x + torch.tensor([(math.cos if j % 2 else math.sin)(p * s) for j, s in enumerate(speeds)])
            rows.append(x)
        return torch.stack(rows)

    def run(self, x: Tensor, blocks: str, n: int, stack: str, last: str, *, causal: bool, memory=None) -> Tensor:
        for i in range(n):
            b = f"{blocks}.{i}"
            x = self.join(
                x, f"{b}.norm_attention", lambda y, b=b: self.attention(f"{b}.attention", y, y, stack, causal)
            )
            if memory is not None:
                x = self.join(x, f"{b}.norm_cross", lambda y, b=b: self.attention(f"{b}.cross", y, memory, None, False))
            x = self.join(x, f"{b}.norm_ff", lambda y, b=b: self.ff(f"{b}.ff", y))
        return self.layer_norm(x, last) if self.norm == "pre" else x

    def translate(self, source: list[int], target_in: list[int]) -> Tensor:
        x = self.embed("source", source, "source_positions")
        memory = self.run(x, "encoder", 2, "source_positions", "encoder_norm", causal=False)
        y = self.embed("target", target_in, "target_positions")
        y = self.run(y, "decoder", 3, "target_positions", "decoder_norm", causal=True, memory=memory)
        return y @ self.w["target.weight"].T + self.w["bias"]

    def complete(self, ids: list[int]) -> Tensor:
        x = self.run(self.embed("token", ids, "positions"), "blocks", 3, "positions", "norm", causal=True)
        return x @ self.w["token.weight"].T + self.w["bias"]


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfall_13_the_translator_is_its_formula(norm, positions):
    model = _translator(norm, positions)
    logits, formula = model(SOURCE, TARGET), Formula(model, norm, positions)
    for row, source, target in zip(logits, SOURCE.tolist(), TARGET.tolist(), strict=True):
        source, target = [i for i in source if i], [i for i in target if i]
        assert_close(row[: len(target)], formula.translate(source, target), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfall_13_the_completer_is_its_formula(norm, positions):
    model = _completer(norm, positions)
    logits, formula = model(IDS), Formula(model, norm, positions)
    for row, ids in zip(logits, IDS.tolist(), strict=True):
        ids = [i for i in ids if i]
        assert_close(row[: len(ids)], formula.complete(ids), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("norm", NORMS)
def test_pitfall_13_only_pre_norm_has_a_last_norm(norm):
    names = {n for n in _translator(norm).state_dict() if n.startswith(("encoder_norm", "decoder_norm"))}
    last = {f"{stack}_norm.{part}" for stack in ("encoder", "decoder") for part in ("weight", "bias")}
    assert names == (last if norm == "pre" else set())
    assert {n for n in _completer(norm).state_dict() if n.startswith("norm.")} == (
        {"norm.weight", "norm.bias"} if norm == "pre" else set()
    )


def test_pitfall_14_layer_norm_by_hand():
    """Population variance: entries 1, 2, 3, 6 have mean 3 and variance (4 + 1 + 0 + 9) / 4, not / 3."""
    norm = Transformer(TransformerConfig(n_source_vocab=5, n_target_vocab=5, d_model=4, n_heads=1)).encoder[0].norm_ff
    expected = torch.tensor([-2.0, -1.0, 0.0, 3.0]) / math.sqrt(3.5 + 1e-5)
    assert_close(norm(torch.tensor([1.0, 2.0, 3.0, 6.0])), expected)
    assert_close(norm(torch.full((4,), 7.0)), torch.zeros(4))  # eps under the root: no 0/0


# ── PyTorch's own ───────────────────────────────────────────────────────────────────────────────


def _copy_attention(theirs: nn.MultiheadAttention, ours: nn.Module) -> None:
    theirs.in_proj_weight.copy_(torch.cat([ours.to_q.weight, ours.to_k.weight, ours.to_v.weight]))
    theirs.out_proj.weight.copy_(ours.to_out.weight)
    theirs.in_proj_bias.zero_()
    theirs.out_proj.bias.zero_()


def _copy_block(theirs: nn.Module, ours: nn.Module) -> None:
    _copy_attention(theirs.self_attn, ours.attention)
    pairs = [(theirs.linear1, ours.ff[0]), (theirs.linear2, ours.ff[2]), (theirs.norm1, ours.norm_attention)]
    if hasattr(theirs, "multihead_attn"):
        _copy_attention(theirs.multihead_attn, ours.cross)
        pairs += [(theirs.norm2, ours.norm_cross), (theirs.norm3, ours.norm_ff)]
    else:
        pairs += [(theirs.norm2, ours.norm_ff)]
    for a, b in pairs:
        a.load_state_dict(b.state_dict())


def _torch_encoder(blocks: nn.ModuleList, norm: str, last: nn.Module) -> nn.TransformerEncoder:
    layer = nn.TransformerEncoderLayer(D_MODEL, N_HEADS, D_FF, 0.0, batch_first=True, norm_first=norm == "pre")
    theirs = nn.TransformerEncoder(layer, len(blocks), copy.deepcopy(last), enable_nested_tensor=False)
    return _filled(theirs, blocks)


def _torch_decoder(model: Transformer, norm: str) -> nn.TransformerDecoder:
    layer = nn.TransformerDecoderLayer(D_MODEL, N_HEADS, D_FF, 0.0, batch_first=True, norm_first=norm == "pre")
    theirs = nn.TransformerDecoder(layer, len(model.decoder), copy.deepcopy(model.decoder_norm))
    return _filled(theirs, model.decoder)


def _filled(theirs, blocks: nn.ModuleList):
    for a, b in zip(theirs.layers, blocks, strict=True):
        _copy_block(a, b)
    return theirs.eval()


def _embedded(table: nn.Embedding, positions: Positions, ids: Tensor) -> Tensor:
    n = ids.shape[1]
    order = positions.table.weight[:n] if positions.kind == "learned" else sinusoids(n, D_MODEL)
    return table.weight[ids] * D_MODEL**0.5 + order


def _equal_where_real(ours: Tensor, theirs: Tensor, ids: Tensor) -> None:
    assert_close(ours[ids != 0], theirs[ids != 0], rtol=1e-5, atol=1e-5)


ADDED = [pytest.param(*kind, id="-".join(kind)) for kind in product(NORMS, ("sinusoidal", "learned"))]


@pytest.mark.parametrize(("norm", "positions"), ADDED)
def test_equals_torch_encoder(norm, positions):
    """True in their padding mask means: do not look."""
    model = _translator(norm, positions)
    theirs = _torch_encoder(model.encoder, norm, model.encoder_norm)
    expected = theirs(_embedded(model.source, model.source_positions, SOURCE), src_key_padding_mask=SOURCE == 0)
    _equal_where_real(model.encode(SOURCE)[0], expected, SOURCE)


@pytest.mark.parametrize(("norm", "positions"), ADDED)
def test_equals_torch_decoder(norm, positions):
    model = _translator(norm, positions)
    expected = _torch_decoder(model, norm)(
        _embedded(model.target, model.target_positions, TARGET),
        model.encode(SOURCE)[0],
        tgt_mask=~causal_mask(TARGET.shape[1]),
        tgt_key_padding_mask=TARGET == 0,
        memory_key_padding_mask=SOURCE == 0,
    )
    _equal_where_real(model.states(SOURCE, TARGET), expected, TARGET)


@pytest.mark.parametrize(("norm", "positions"), ADDED)
def test_equals_torch_transformer(norm, positions):
    """Theirs, built plainly, has last norms in post-norm too, which the paper has not; built from parts it has none."""
    model = _translator(norm, positions)
    theirs = nn.Transformer(
        D_MODEL,
        N_HEADS,
        custom_encoder=_torch_encoder(model.encoder, norm, model.encoder_norm),
        custom_decoder=_torch_decoder(model, norm),
        batch_first=True,
    ).eval()
    for stack, blocks, last in (
        (theirs.encoder, model.encoder, model.encoder_norm),
        (theirs.decoder, model.decoder, model.decoder_norm),
    ):
        _filled(stack, blocks)  # again: nn.Transformer gives what it gets new random numbers
        stack.norm = last
    states = theirs(
        _embedded(model.source, model.source_positions, SOURCE),
        _embedded(model.target, model.target_positions, TARGET),
        tgt_mask=~causal_mask(TARGET.shape[1]),
        src_key_padding_mask=SOURCE == 0,
        memory_key_padding_mask=SOURCE == 0,
        tgt_key_padding_mask=TARGET == 0,
    )
    _equal_where_real(model(SOURCE, TARGET), states @ model.target.weight.T + model.bias, TARGET)


@pytest.mark.parametrize(("norm", "positions"), ADDED)
def test_decoder_only_equals_torch_encoder_under_a_causal_mask(norm, positions):
    model = _completer(norm, positions)
    states = _torch_encoder(model.blocks, norm, model.norm)(
        _embedded(model.token, model.positions, IDS), mask=~causal_mask(IDS.shape[1]), src_key_padding_mask=IDS == 0
    )
    _equal_where_real(model(IDS), states @ model.token.weight.T + model.bias, IDS)


# ── Hugging Face's families ─────────────────────────────────────────────────────────────────────


@pytest.fixture
def hugging_face():
    return pytest.importorskip("transformers", reason="transformers is the reference, and is installed for tests only")


def _without(model: nn.Module, *parts: str) -> None:
    """Set to zero what the other family does not have."""
    for name, parameter in model.named_parameters():
        if name.endswith(parts):
            parameter.zero_()


def test_relative_equals_t5(hugging_face):
    """T5: no √d_head (moved into its W_Q), no biases in ff, RMS norms (replaced by ours for the comparison)."""
    model = _translator("pre", "relative", n_source_vocab=N_TARGET, shared=True)
    _without(model, "ff.0.bias", "ff.2.bias")
    config = hugging_face.T5Config(
        vocab_size=N_TARGET, d_model=D_MODEL, d_kv=D_HEAD, d_ff=D_FF, num_layers=2, num_decoder_layers=3,
        num_heads=N_HEADS, dropout_rate=0.0, feed_forward_proj="relu", tie_word_embeddings=False, pad_token_id=0,
    )  # fmt: skip
    theirs = hugging_face.T5ForConditionalGeneration(config).eval()
    theirs.shared.weight.copy_(model.source.weight * D_MODEL**0.5)
    theirs.lm_head.weight = nn.Parameter(model.target.weight.clone())  # not theirs.shared, which has the √d_model

    def copy_attention(theirs: nn.Module, ours: nn.Module) -> None:
        theirs.q.weight.copy_(ours.to_q.weight / D_HEAD**0.5)
        theirs.k.weight.copy_(ours.to_k.weight)
        theirs.v.weight.copy_(ours.to_v.weight)
        theirs.o.weight.copy_(ours.to_out.weight)

    stacks = [
        (theirs.encoder, model.encoder, model.encoder_norm, model.source_positions),
        (theirs.decoder, model.decoder, model.decoder_norm, model.target_positions),
    ]
    for stack, blocks, last, positions in stacks:
        stack.final_layer_norm = last
        first = stack.block[0].layer[0].SelfAttention
        first.relative_attention_bias.weight.copy_(positions.relative.table.weight)
        for a, b in zip(stack.block, blocks, strict=True):
            copy_attention(a.layer[0].SelfAttention, b.attention)
            a.layer[0].layer_norm = b.norm_attention
            if len(a.layer) == 3:
                copy_attention(a.layer[1].EncDecAttention, b.cross)
                a.layer[1].layer_norm = b.norm_cross
            a.layer[-1].DenseReluDense.wi.weight.copy_(b.ff[0].weight)
            a.layer[-1].DenseReluDense.wo.weight.copy_(b.ff[2].weight)
            a.layer[-1].layer_norm = b.norm_ff
    source = torch.randint(1, N_TARGET, (2, 41), generator=torch.Generator().manual_seed(1))  # beyond the exact buckets
    source[1, 31:] = 0
    target = torch.randint(1, N_TARGET, (2, 37), generator=torch.Generator().manual_seed(2))
    expected = theirs(input_ids=source, attention_mask=(source != 0).long(), decoder_input_ids=target).logits
    assert_close(model(source, target), expected + model.bias, rtol=1e-5, atol=1e-5)


def test_rotary_equals_gpt_neox(hugging_face):
    """GPT-NeoX turns entries (i, i + d/2) where ours turns (2i, 2i+1): a permutation of the rows of W_Q and W_K."""
    model = _completer("pre", "rotary")
    config = hugging_face.GPTNeoXConfig(
        vocab_size=N_TARGET, hidden_size=D_MODEL, num_hidden_layers=3, num_attention_heads=N_HEADS, hidden_act="relu",
        intermediate_size=D_FF, rotary_pct=1.0, use_parallel_residual=False, attention_bias=False,
        rope_parameters={"rope_type": "default", "rope_theta": 10_000.0, "partial_rotary_factor": 1.0},
    )  # fmt: skip
    theirs = hugging_face.GPTNeoXForCausalLM(config).eval()
    theirs.gpt_neox.embed_in.weight = nn.Parameter(model.token.weight * D_MODEL**0.5)
    theirs.lm_head.weight = nn.Parameter(model.token.weight.clone())
    theirs.gpt_neox.final_layer_norm.load_state_dict(model.norm.state_dict())
    halves = [*range(0, D_HEAD, 2), *range(1, D_HEAD, 2)]
    for a, b in zip(theirs.gpt_neox.layers, model.blocks, strict=True):
        q, k, v = (to.weight.view(N_HEADS, D_HEAD, -1) for to in (b.attention.to_q, b.attention.to_k, b.attention.to_v))
        a.attention.query_key_value.weight.copy_(torch.cat([q[:, halves], k[:, halves], v], dim=1).flatten(0, 1))
        a.attention.dense.weight.copy_(b.attention.to_out.weight)
        a.input_layernorm.load_state_dict(b.norm_attention.state_dict())
        a.post_attention_layernorm.load_state_dict(b.norm_ff.state_dict())
        a.mlp.dense_h_to_4h.load_state_dict(b.ff[0].state_dict())
        a.mlp.dense_4h_to_h.load_state_dict(b.ff[2].state_dict())
    ids = torch.randint(1, N_TARGET, (2, 31), generator=torch.Generator().manual_seed(1))
    assert_close(model(ids), theirs(input_ids=ids).logits + model.bias, rtol=1e-5, atol=1e-5)


def test_alibi_equals_mpt(hugging_face):
    """MPT has no biases at all, and GELU (replaced by ReLU for the comparison)."""
    model = _completer("pre", "alibi", n_heads=2)
    _without(model, "ff.0.bias", "ff.2.bias", "norm_attention.bias", "norm_ff.bias", "norm.bias")
    config = hugging_face.MptConfig(
        d_model=D_MODEL, n_heads=2, n_layers=3, expansion_ratio=2, vocab_size=N_TARGET, max_seq_len=64,
    )  # fmt: skip
    theirs = hugging_face.MptForCausalLM(config).eval()
    theirs.transformer.wte.weight = nn.Parameter(model.token.weight * D_MODEL**0.5)
    theirs.lm_head.weight = nn.Parameter(model.token.weight.clone())
    theirs.transformer.norm_f.weight.copy_(model.norm.weight)
    for a, b in zip(theirs.transformer.blocks, model.blocks, strict=True):
        parts = [b.attention.to_q.weight, b.attention.to_k.weight, b.attention.to_v.weight]
        a.attn.Wqkv.weight.copy_(torch.cat(parts))
        a.attn.out_proj.weight.copy_(b.attention.to_out.weight)
        a.norm_1.weight.copy_(b.norm_attention.weight)
        a.norm_2.weight.copy_(b.norm_ff.weight)
        a.ffn.up_proj.weight = nn.Parameter(b.ff[0].weight.clone())
        a.ffn.down_proj.weight = nn.Parameter(b.ff[2].weight.clone())
        a.ffn.act = nn.ReLU()
    ids = torch.randint(1, N_TARGET, (2, 31), generator=torch.Generator().manual_seed(1))
    assert_close(model(ids), theirs(input_ids=ids).logits + model.bias, rtol=1e-5, atol=1e-5)


def test_post_norm_with_sinusoids_equals_marian(hugging_face):
    """Marian (MarianMT): their sinusoids stand as sin … sin cos … cos, a permutation of the stream's entries."""
    model = _translator("post", "sinusoidal")
    config = hugging_face.MarianConfig(
        vocab_size=N_SOURCE, decoder_vocab_size=N_TARGET, share_encoder_decoder_embeddings=False, d_model=D_MODEL,
        encoder_layers=2, decoder_layers=3, encoder_attention_heads=N_HEADS, decoder_attention_heads=N_HEADS,
        encoder_ffn_dim=D_FF, decoder_ffn_dim=D_FF, activation_function="relu", scale_embedding=True, dropout=0.0,
        attention_dropout=0.0, activation_dropout=0.0, max_position_embeddings=64, pad_token_id=0,
        decoder_start_token_id=2, bos_token_id=2, eos_token_id=3, tie_word_embeddings=False,
    )  # fmt: skip
    theirs = hugging_face.MarianMTModel(config).eval()
    entries = [*range(0, D_MODEL, 2), *range(1, D_MODEL, 2)]

    def copy_attention(theirs: nn.Module, ours: nn.Module) -> None:
        for a, b in ((theirs.q_proj, ours.to_q), (theirs.k_proj, ours.to_k), (theirs.v_proj, ours.to_v)):
            a.weight.copy_(b.weight[:, entries])
            a.bias.zero_()
        theirs.out_proj.weight.copy_(ours.to_out.weight[entries])
        theirs.out_proj.bias.zero_()

    def copy_norm(theirs: nn.LayerNorm, ours: nn.LayerNorm) -> None:
        theirs.weight.copy_(ours.weight[entries])
        theirs.bias.copy_(ours.bias[entries])

    stacks = [(theirs.model.encoder, model.encoder, model.source), (theirs.model.decoder, model.decoder, model.target)]
    for stack, blocks, table in stacks:
        stack.embed_tokens.weight.copy_(table.weight[:, entries])
        for a, b in zip(stack.layers, blocks, strict=True):
            copy_attention(a.self_attn, b.attention)
            copy_norm(a.self_attn_layer_norm, b.norm_attention)
            if hasattr(a, "encoder_attn"):
                copy_attention(a.encoder_attn, b.cross)
                copy_norm(a.encoder_attn_layer_norm, b.norm_cross)
            a.fc1.weight.copy_(b.ff[0].weight[:, entries])
            a.fc1.bias.copy_(b.ff[0].bias)
            a.fc2.weight.copy_(b.ff[2].weight[entries])
            a.fc2.bias.copy_(b.ff[2].bias[entries])
            copy_norm(a.final_layer_norm, b.norm_ff)
    theirs.lm_head.weight.copy_(model.target.weight[:, entries])
    theirs.final_logits_bias.copy_(model.bias[None])
    expected = theirs(input_ids=SOURCE, attention_mask=(SOURCE != 0).long(), decoder_input_ids=TARGET).logits
    assert_close(model(SOURCE, TARGET), expected, rtol=1e-5, atol=1e-5)


# ── laws ────────────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfall_03_stepwise_equals_teacher_forced(norm, positions):
    """With the cache, and by reading the whole prefix again; both equal the logits of one pass."""
    model = _translator(norm, positions)
    state, logits = model.start(SOURCE), model(SOURCE, TARGET)
    for t in range(TARGET.shape[1]):
        cached, state = model.step(TARGET[:, t], state)
        assert_close(cached, logits[:, t], rtol=1e-5, atol=1e-5)
        assert_close(model(SOURCE, TARGET[:, : t + 1])[:, -1], logits[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfall_03_the_completer_stepwise_equals_one_pass(norm, positions):
    model, ids = _completer(norm, positions), SOURCE[[0]] % N_TARGET
    for n_prompt in (1, 2, 5):
        state, logits = model.start(ids[:, : n_prompt - 1]), model(ids)
        for t in range(n_prompt - 1, ids.shape[1]):
            cached, state = model.step(ids[:, t], state)
            assert_close(cached, logits[:, t], rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_prompts_padded_on_the_left_are_as_if_alone(norm, positions):
    model = _completer(norm, positions)
    prompts = [[5, 13, 7, 12, 9], [4, 8], [6]]
    padded = torch.tensor([[0] * (5 - len(p)) + p for p in prompts])
    state = model.start(padded[:, :-1])
    continuation = torch.tensor([[7, 2, 11], [3, 1, 18], [10, 14, 4]])
    steps = []
    for ids in (padded[:, -1], *continuation.T):
        logits, state = model.step(ids, state)
        assert bool(logits.isfinite().all())
        steps.append(logits)
    for row, (prompt, more) in enumerate(zip(prompts, continuation.tolist(), strict=True)):
        alone = model(torch.tensor([prompt + more]))[0, len(prompt) - 1 :]
        assert_close(torch.stack(steps)[:, row], alone, rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfalls_10_and_12_the_future_is_not_read(norm, positions):
    """Change the tokens from t on: the logits before t are the same to the bit, and those from t on are not."""
    translator, completer = _translator(norm, positions), _completer(norm, positions)
    runs = [(lambda ids: translator(SOURCE, ids), TARGET), (completer, TARGET)]
    for run, ids in runs:
        before = run(ids)
        for t in range(1, ids.shape[1]):
            changed = ids.clone()
            changed[:, t:] = (changed[:, t:] + 5) % N_TARGET
            after = run(changed)
            assert torch.equal(after[:, :t], before[:, :t])
            assert not (after[:, t] == before[:, t]).all(-1).any()


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_padding_changes_nothing(norm, positions):
    model, n = _translator(norm, positions), TARGET.shape[1]
    logits = model(SOURCE, TARGET)
    for more_source, more_target in ((4, 0), (0, 3), (2, 6)):
        longer = model(pad(SOURCE, (0, more_source)), pad(TARGET, (0, more_target)))
        assert_close(longer[:, :n], logits, rtol=1e-6, atol=1e-6)
    for row in range(len(SOURCE)):  # and each sentence alone is as in the batch
        real = SOURCE[row][SOURCE[row] != 0][None]
        assert_close(model(real, TARGET[[row]])[0], logits[row], rtol=1e-5, atol=1e-5)
    completer = _completer(norm, positions)
    assert_close(completer(pad(IDS, (0, 3)))[:, : IDS.shape[1]], completer(IDS), rtol=1e-6, atol=1e-6)


def test_pitfall_28_the_output_matrix_is_the_target_table():
    model = _translator()
    states, before = model.states(SOURCE, TARGET), model(SOURCE, TARGET)
    assert_close(before, states @ model.target.weight.T + model.bias)
    model.target.weight[7] = 0.0  # id 7 is fed only at row 0, place 1: before that, only its own logit changes
    after = model(SOURCE, TARGET)
    assert_close(after[1:, :, 7], model.bias[7].expand_as(after[1:, :, 7]))
    others = [i for i in range(N_TARGET) if i != 7]
    assert torch.equal(after[1:][..., others], before[1:][..., others])
    tables = [n for n, p in model.named_parameters() if p.shape[0] in (N_SOURCE, N_TARGET) and p.dim() == 2]
    assert tables == ["target.weight", "source.weight"], "two tables and no third matrix"
    completer = _completer()
    assert_close(completer(IDS), completer.states(IDS) @ completer.token.weight.T + completer.bias)
    assert [n for n, p in completer.named_parameters() if p.shape == (N_TARGET, D_MODEL)] == ["token.weight"]


def test_pitfall_28_shared_means_one_table():
    assert _translator().source is not _translator().target
    model = _translator(n_source_vocab=N_TARGET, shared=True)
    assert model.source is model.target
    assert model.source.weight is model.target.weight
    again = _translator(n_source_vocab=N_TARGET, shared=True)
    again.load_state_dict({name: value.clone() for name, value in model.state_dict().items()})
    assert again.source.weight is again.target.weight
    assert torch.equal(again(SOURCE % N_TARGET, TARGET), model(SOURCE % N_TARGET, TARGET))
    with pytest.raises(ValueError, match=r"n_source_vocab=23 and n_target_vocab=19"):
        _translator(shared=True)


def test_pitfall_01_every_decoder_layer_projects_the_memory_itself():
    """One memory; per layer its own W_K and W_V. The source reaches keys and values, never the first queries."""
    model, other = _translator(), SOURCE.roll(1, dims=0)
    records = []
    for source in (SOURCE, other):
        with capture(model) as found:
            model(source, TARGET)
        records.append({r.name: r for r in found})
    memories = [model.encode(source)[0] for source in (SOURCE, other)]
    for i, block in enumerate(model.decoder):
        for found, memory in zip(records, memories, strict=True):
            cross = found[f"decoder.{i}.cross.attend"]
            assert cross.weights.shape == (3, N_HEADS, TARGET.shape[1], SOURCE.shape[1])
            for ours, to in ((cross.k, block.cross.to_k), (cross.v, block.cross.to_v)):
                assert_close(ours.transpose(1, 2).flatten(2), to(memory))
        for j in range(i):
            for to in ("to_k", "to_v"):
                here, there = (getattr(model.decoder[n].cross, to).weight for n in (i, j))
                assert not torch.equal(here, there)
    first, changed = (found["decoder.0.cross.attend"] for found in records)
    assert torch.equal(first.q, changed.q)
    assert not torch.equal(first.k, changed.k)
    assert not torch.equal(first.v, changed.v)
    first, changed = (found["decoder.0.attention.attend"] for found in records)
    assert all(torch.equal(getattr(first, x), getattr(changed, x)) for x in "qkv")


@pytest.mark.parametrize(("norm", "positions"), KINDS)
def test_pitfall_02_the_source_enters_through_cross_attention_alone(norm, positions):
    model, other = _translator(norm, positions), SOURCE.roll(1, dims=0)
    assert not torch.allclose(model(SOURCE, TARGET), model(other, TARGET), atol=1e-2)
    for block in model.decoder:
        block.cross.to_out.weight.zero_()
    assert torch.equal(model(SOURCE, TARGET), model(other, TARGET))
    steps = [model.step(TARGET[:, 0], model.start(source))[0] for source in (SOURCE, other)]
    assert torch.equal(*steps)


@pytest.mark.parametrize("norm", NORMS)
def test_pitfall_07_captured_rows_sum_to_one_in_train_mode(norm):
    model = _translator(norm, "relative", dropout=0.5).train()
    with capture(model) as records:
        model(SOURCE, TARGET)
    assert len(records) == 2 + 2 * 3
    for record in records:
        assert_close(record.weights.sum(-1), torch.ones(record.weights.shape[:-1]))
        if ".cross." in record.name or record.name.startswith("encoder"):
            assert not record.weights[(SOURCE == 0)[:, None, None].expand_as(record.weights)].any()
        else:
            assert not record.weights.triu(1).any()


def test_dropout_acts_on_what_the_parts_add_alone():
    """In train mode too, queries, keys and values are the projections of the stream, with nothing dropped."""
    model, streams = _translator(dropout=0.5).train(), {}
    for i, block in enumerate(model.encoder):
        block.norm_attention.register_forward_hook(lambda _module, _args, y, i=i: streams.update({i: y}))
    with capture(model) as records:
        model(SOURCE, TARGET)
    assert sorted(streams) == [0, 1]
    for (i, stream), block, record in zip(sorted(streams.items()), model.encoder, records, strict=False):
        assert record.name == f"encoder.{i}.attention.attend"
        k, v = block.attention.keys_values(stream)
        for ours, projected in ((record.q, block.attention.queries(stream)), (record.k, k), (record.v, v)):
            assert torch.equal(ours, projected)


def test_dropout_drops_the_sum_of_word_and_position():
    model, seen = _translator(dropout=0.5).train(), []
    model.encoder[0].register_forward_pre_hook(lambda _module, args: seen.append(args[0]))
    for _ in range(20):
        model.encode(SOURCE)
    assert (torch.stack(seen) == 0).float().mean().item() == pytest.approx(0.5, abs=0.05)


def test_pitfall_08_maps_are_drawn_in_eval_mode():
    """Two calls agree in eval mode and differ in train mode, where dropout changes what is looked at."""
    model = _translator(dropout=0.5)
    assert torch.equal(model(SOURCE, TARGET), model(SOURCE, TARGET))
    completer = _completer(dropout=0.5)
    assert torch.equal(completer(IDS), completer(IDS))
    assert not torch.equal(model.train()(SOURCE, TARGET), model(SOURCE, TARGET))
    assert not torch.equal(completer.train()(IDS), completer(IDS))


@torch.enable_grad()
def test_pitfall_09_a_copying_model_shows_its_diagonal():
    """Taught to write the source from its third token on: row t (who looks) has its maximum in column t + 2."""
    torch.manual_seed(3)
    sizes = {"d_model": 24, "n_heads": 1, "d_ff": 48, "n_encoder_layers": 1, "n_decoder_layers": 1}
    model = Transformer(TransformerConfig(n_source_vocab=17, n_target_vocab=17, **sizes))
    optimizer = torch.optim.Adam(model.parameters(), lr=1e-2)
    n, skipped = 7, 2
    for _ in range(200):
        source = torch.randint(5, 17, (64, n))
        expected = source[:, skipped:]
        target_in = torch.cat([torch.full((64, 1), 2), expected[:, :-1]], dim=1)
        loss = cross_entropy(model(source, target_in).flatten(0, 1), expected.flatten())
        optimizer.zero_grad()
        loss.backward()
        optimizer.step()
    with torch.no_grad(), capture(model.eval()) as records:
        assert (model(source, target_in).argmax(-1) == expected).float().mean() > 0.99
    weights = records[-1].weights[:, 0]
    assert records[-1].name == "decoder.0.cross.attend"
    assert weights.shape == (64, n - skipped, n)
    assert torch.equal(weights.mean(0).argmax(-1), torch.arange(skipped, n))
    assert weights.diagonal(skipped, 1, 2).mean() > 0.5


@pytest.mark.parametrize("positions", POSITIONS)
def test_states_can_be_picked_and_reordered(positions):
    """Every tensor's first axis is batch: picking rows of the state picks rows of the results."""
    order = torch.tensor([2, 0, 0, 1, 2])
    translator, completer = _translator("pre", positions), _completer("pre", positions)
    prompts = torch.tensor([[0, 0, 4], [0, 7, 1], [3, 12, 5]])
    for model, state in ((translator, translator.start(SOURCE)), (completer, completer.start(prompts))):
        for t in range(3):
            picked = {name: value.index_select(0, order) for name, value in state.items()}
            assert all(len(value) == 3 for value in state.values())
            logits, after = model.step(TARGET[:, t], state)
            reordered, picked = model.step(TARGET[order, t], picked)
            assert_close(reordered, logits[order], rtol=1e-5, atol=1e-5)
            assert picked.keys() == after.keys()
            for name, value in after.items():
                assert_close(picked[name], value[order], rtol=1e-5, atol=1e-5)
            state = after


@pytest.mark.parametrize("positions", POSITIONS)
def test_a_step_leaves_the_state_it_was_given(positions):
    """Two hypotheses can go on from one state, in any order."""
    translator, completer = _translator("pre", positions), _completer("pre", positions)
    for model, state in ((translator, translator.start(SOURCE)), (completer, completer.start(TARGET))):
        _, state = model.step(TARGET[:, 0], state)
        before = {name: value.clone() for name, value in state.items()}
        first, _ = model.step(TARGET[:, 1], state)
        model.step(TARGET[:, 2], model.step(TARGET[:, 3], state)[1])
        assert state.keys() == before.keys()
        assert all(torch.equal(value, before[name]) for name, value in state.items())
        assert torch.equal(model.step(TARGET[:, 1], state)[0], first)


def test_without_positions_order_is_invisible():
    """Learned positions set to zero: shuffle the source, and the memory is shuffled, the logits are the same."""
    model, order = _translator("pre", "learned"), torch.tensor([3, 1, 6, 0, 5, 2, 4])
    source, shuffled = SOURCE[[0]], SOURCE[[0]][:, order]
    assert not torch.allclose(model(shuffled, TARGET[[0]]), model(source, TARGET[[0]]), atol=1e-2)
    model.source_positions.table.weight.zero_()
    assert_close(model.encode(shuffled)[0], model.encode(source)[0][:, order], rtol=1e-5, atol=1e-5)
    assert_close(model(shuffled, TARGET[[0]]), model(source, TARGET[[0]]), rtol=1e-5, atol=1e-5)


@pytest.mark.parametrize("positions", POSITIONS)
def test_positions_tell_the_order(positions):
    model, order = _translator("pre", positions), torch.tensor([3, 1, 6, 0, 5, 2, 4])
    assert not torch.allclose(model.encode(SOURCE[[0]][:, order])[0], model.encode(SOURCE[[0]])[0][:, order], atol=1e-2)


def test_bad_choices_are_named_with_the_alternatives():
    config = DecoderOnlyConfig(n_vocab=5)
    object.__setattr__(config, "norm", "middle")  # given at once, the tests' type checks would refuse it
    with pytest.raises(ValueError, match=r"norm='middle' is none of pre, post"):
        DecoderOnly(config)
    object.__setattr__(config, "positions", "none")
    with pytest.raises(ValueError, match=r"positions='none' is none of sinusoidal, learned"):
        DecoderOnly(config)
    with pytest.raises(ValueError, match=r"d_model=10 is not a multiple of n_heads=3"):
        DecoderOnly(DecoderOnlyConfig(n_vocab=5, d_model=10, n_heads=3))


CONFIGS = [
    partial(TransformerConfig, n_source_vocab=5, n_target_vocab=5),
    partial(DecoderOnlyConfig, n_vocab=5),
    partial(RNNConfig, n_source_vocab=5, n_target_vocab=5),
    partial(MaskedLanguageModelConfig, n_vocab=5),
]


@pytest.mark.parametrize("config", CONFIGS, ids=lambda config: config.func.__name__)
def test_sizes_below_one_are_refused(config):
    whole = [field.name for field in fields(config()) if field.type is int]
    assert len(whole) >= 4
    for name in whole:
        for n in (0, -7):
            with pytest.raises(ValueError, match=f"^{name}={n} must be a whole number, at least 1$"):
                config(**{name: n})
    for dropout in (-0.1, 1.0, math.nan):
        with pytest.raises(ValueError, match=f"dropout={dropout} is a part of the whole"):
            config(dropout=dropout)
    assert config(dropout=0.5).dropout == 0.5


def test_learned_positions_end_where_they_end():
    translator, completer = (build("pre", "learned", max_len=5) for build in (_translator, _completer))
    with pytest.raises(ValueError, match=r"position 6 is beyond the 5 learned positions"):
        translator(SOURCE, TARGET)
    source = SOURCE[1:, :5]
    translator(source, TARGET[1:])  # five fit
    state = translator.start(source)
    for t in range(5):
        _, state = translator.step(TARGET[1:, t], state)
    with pytest.raises(ValueError, match=r"position 5 is beyond the 5"):
        translator.step(TARGET[1:, 0], state)
    _, state = completer.step(TARGET[:, 0], completer.start(pad(TARGET[:, :4], (3, 0))))  # padding takes no place
    with pytest.raises(ValueError, match=r"position 5 is beyond the 5"):
        completer.step(TARGET[:, 0], state)


def test_an_empty_sentence_is_refused():
    model = _translator()
    for run in (model.start, model.encode, lambda source: model(source, TARGET)):
        with pytest.raises(ValueError, match="empty"):
            run(torch.cat([SOURCE[:2], torch.zeros(1, 7, dtype=torch.long)]))
