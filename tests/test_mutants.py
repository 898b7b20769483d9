"""The tests can fail: each of these mistakes, made in a copy of attention.py, breaks at least one law."""

import types
from pathlib import Path

import attention_laws
import pytest

from attention_decoded import attention

SOURCE = Path(attention.__file__).read_text("utf8")

MUTANTS = {
    "inverted mask": ("masked_fill(~mask, floor)", "masked_fill(mask, floor)"),
    "mask forgotten after the softmax": (".softmax(dim=-1) * mask", ".softmax(dim=-1)"),
    "mask that overflows in fp16": ("floor = torch.finfo(scores.dtype).min", "floor = -1e9"),
    "no scale": ("(1 / math.sqrt(q.shape[-1]) if scale is None else scale)", "(1 if scale is None else scale)"),
    "scale by d_head instead of its root": ("1 / math.sqrt(q.shape[-1])", "1 / q.shape[-1]"),
    "scale by the number of queries": ("math.sqrt(q.shape[-1])", "math.sqrt(q.shape[-2])"),
    "softmax over queries": ("weights = scores.softmax(dim=-1)", "weights = scores.softmax(dim=-2)"),
    "softmax over queries, masked": (".softmax(dim=-1) * mask", ".softmax(dim=-2) * mask"),
    "swapped heads going in": ("batch pos (head d_head) -> batch head", "batch pos (d_head head) -> batch head"),
    "swapped heads coming out": ("batch query (head d_head)", "batch query (d_head head)"),
    "V from W_K": ("self.to_v(context)", "self.to_k(context)"),
    "K and V from the query's side": (
        "self.keys_values(x if context is None else context)",
        "self.keys_values(x if context is None or x.shape != context.shape else x)",
    ),
    "bias forgotten": ("scores = scores + bias", "scores = scores + 0 * bias"),
    "bias not handed on": ("self.attend(q, k, v, mask, bias)", "self.attend(q, k, v, mask)"),
    "bias forgotten by the fused kernel": ("bias = bias.to(q.dtype)", "bias = 0 * bias.to(q.dtype)"),
    "bias where looking is forbidden": ("torch.where(mask, bias,", "torch.where(~mask, bias,"),
    "an average where looking is forbidden": (" * mask.any(-1, keepdim=True)", ""),
    "Q and K exchanged": ("self.attend(q, k, v, mask, bias)", "self.attend(k, q, v, mask, bias)"),
    "mask not handed on": ("self.attend(q, k, v, mask, bias)", "self.attend(q, k, v, None, bias)"),
    "no output projection": ("self.to_out(rearrange(", "(rearrange("),
    "sees one step ahead": ("[None, :] <= last_visible", "[None, :] <= last_visible + 1"),
    "does not see itself": ("[None, :] <= last_visible", "[None, :] < last_visible"),
    "padding one too long": ("[None, :] < lengths", "[None, :] <= lengths"),
    "bilinear form turned round": ("return w_q.mT @ w_k", "return w_k.mT @ w_q"),
}


def broken_laws(source: str) -> list[str]:
    module = types.ModuleType("mutant")
    exec(compile(source, "mutant attention.py", "exec"), module.__dict__)
    broken = []
    for law in attention_laws.LAWS:
        try:
            law(module)
        except (AssertionError, RuntimeError):
            broken.append(law.__name__)
    return broken


def test_the_original_breaks_no_law():
    assert broken_laws(SOURCE) == []


@pytest.mark.parametrize("name", MUTANTS)
def test_mutant_is_caught(name):
    good, bad = MUTANTS[name]
    assert SOURCE.count(good) == 1, f"{good!r} stands {SOURCE.count(good)} times in attention.py: name one place"
    assert broken_laws(SOURCE.replace(good, bad)), f"no law notices: {name}"
