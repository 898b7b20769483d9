"""Decoding: from next-token probabilities to text, by any model that writes one token after the other (chapter 12).

    greedy        the likeliest token, each time
    beam_search   several beginnings side by side; the best whole sentences are returned
    sample        a token drawn by chance, from all or from the likeliest few

A model is anything with the two methods of `Writer`; rnn.RNNTranslator, transformer.Transformer and
transformer.DecoderOnly have them. What was computed for earlier tokens stays in the state (the KV cache),
so a step costs one token, and sentences that have ended leave the batch, so the batch shrinks as it goes.

All logarithms are natural. Log-probabilities are the model's own, of its full softmax: neither a forbidden
token nor a temperature changes the number that is reported for a token that was written.

Length: a sum of log-probabilities falls with every token, so beam search divides it by a penalty
    power   length ** alpha, the default with alpha = 1: Marian's --normalize, Hugging Face's length_penalty
    gnmt    ((5 + length) / 6) ** alpha: lp(Y) of Wu et al., who take alpha = 0.6
where length counts the tokens written, EOS included, and neither BOS nor a prefix.

Sources: Sutskever et al. (2014), arXiv:1409.3215v3, section 3.2 (beam search); Wu et al. (2016),
arXiv:1609.08144v2, section 7 (lp); Fan et al. (2018), arXiv:1805.04833v1, section 5.4 (top-k);
Holtzman et al. (2020), arXiv:1904.09751v2, section 3.1 (top-p).
"""

import math
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Literal, Protocol, TypeVar, runtime_checkable

import torch
import torch.nn.functional as F
from jaxtyping import Float, Int
from torch import Tensor

from attention_decoded.data.tokenization import BOS, EOS, MASK, PAD, UNK

FORBIDDEN = (PAD, UNK, BOS, MASK)
"""Ids that are never written unless the caller says so: they are no text."""
DEPARTURE = 8  # rows leave once 1 in so many has ended: leaving at once would copy the whole state at each end

State = dict[str, Tensor]
Penalty = Literal["power", "gnmt"]
Stop = Literal["likely", "proved", "first"]
Result = TypeVar("Result")


@runtime_checkable
class Writer(Protocol):
    """A model that writes: every tensor of its state has the batch as first axis, and no step alters a given state."""

    def start(self, source: Tensor, /) -> State:
        """The state before the first token, for a batch of sources or of prompts without their last token."""
        ...

    def step(self, ids: Tensor, state: State, /) -> tuple[Tensor, State]:
        """Feed one token a row; logits [batch, vocab] of the next one, and the state that follows."""
        ...


@dataclass(frozen=True, kw_only=True)
class Hypothesis:
    """One text that a model wrote."""

    ids: list[int]
    """What was written: no BOS, no prefix; EOS is last if the text is `finished`."""
    log_probs: list[float]
    """The model's log-probability of each of them."""
    log_prob: float
    """Their sum."""
    score: float
    """`log_prob` over the length penalty; greedy and sampled texts have the default one: the mean."""
    finished: bool
    """False where `max_len` cut the text off."""
    alternatives: list[list[tuple[int, float]]]
    """For every token, the likeliest (id, log-probability) in its place, best first, as many as were asked for."""


def length_penalty(length: int, kind: Penalty = "power", alpha: float = 1.0) -> float:
    """What a sum of `length` log-probabilities is divided by; alpha = 0 leaves it as it is."""
    if kind not in Penalty.__args__:
        raise ValueError(f"penalty={kind!r} is none of {', '.join(Penalty.__args__)}")
    return (length if kind == "power" else (5 + length) / 6) ** alpha


# ── one text per source ─────────────────────────────────────────────────────────────────────────


@torch.no_grad()
def greedy(
    model: Writer,
    source: Int[Tensor, "batch source"],
    *,
    max_len: int = 128,
    bos: int | None = BOS,
    eos: int = EOS,
    prefix: Int[Tensor, "batch prefix"] | None = None,
    forbidden: Sequence[int] = FORBIDDEN,
    n_alternatives: int = 0,
) -> list[Hypothesis]:
    """The likeliest token at every step, up to EOS or `max_len` tokens; one text per source, in order.

    `source`     sentences, padded on the right with 0. With `bos=None` they are prompts of a decoder-only
                 model instead, padded on the left (`pad(..., left=True)`), and are continued
    `prefix`     how the target begins after BOS, for every row alike in length; it is fed, not written
    `forbidden`  ids that are never written, by default <pad>, <unk>, <bos> and <mask>

    Raises ValueError for a source that is empty, wrongly padded or no ids of the model's, for arguments out of
    range, a model in training mode and logits that are NaN; TypeError for a model that is no `Writer`.
    """
    return _write(model, source, _likeliest, max_len, bos, eos, prefix, forbidden, n_alternatives)


@torch.no_grad()
def sample(
    model: Writer,
    source: Int[Tensor, "batch source"],
    *,
    generator: torch.Generator | None = None,
    temperature: float = 1.0,
    top_k: int | None = None,
    top_p: float = 1.0,
    max_len: int = 128,
    bos: int | None = BOS,
    eos: int = EOS,
    prefix: Int[Tensor, "batch prefix"] | None = None,
    forbidden: Sequence[int] = FORBIDDEN,
    n_alternatives: int = 0,
) -> list[Hypothesis]:
    """Draw every token by chance, after `reshape` has cut and sharpened the distribution; else as `greedy`.

    The same generator state and the same batch give the same texts. Repeat a row to have several from it.
    """
    _check_cuts(temperature, top_k, top_p)

    def draw(log_probs: Tensor) -> Tensor:
        probabilities = reshape(log_probs, temperature=temperature, top_k=top_k, top_p=top_p).softmax(-1)
        return torch.multinomial(probabilities, 1, generator=generator).squeeze(1)

    return _write(model, source, draw, max_len, bos, eos, prefix, forbidden, n_alternatives)


def reshape(
    logits: Float[Tensor, "*lead vocab"], *, temperature: float = 1.0, top_k: int | None = None, top_p: float = 1.0
) -> Float[Tensor, "*lead vocab"]:
    """Logits to draw from: divided by the temperature, then all but the likeliest set to −inf.

    `top_k` keeps so many tokens; of those, `top_p` keeps the fewest whose probabilities reach it. The
    likeliest always stays. Of equally likely tokens, those with smaller ids are kept first.
    """
    _check_cuts(temperature, top_k, top_p)
    logits = logits / temperature
    if top_k is None and top_p == 1:
        return logits
    ordered, order = logits.sort(dim=-1, descending=True, stable=True)
    if top_k is not None:
        ordered[..., top_k:] = -math.inf
    if top_p < 1:
        probabilities = ordered.softmax(-1)
        before = probabilities.cumsum(-1) - probabilities  # what the likelier tokens hold together
        ordered = ordered.masked_fill(before >= top_p, -math.inf)
    return torch.empty_like(logits).scatter_(-1, order, ordered)


def _check_cuts(temperature: float, top_k: int | None, top_p: float) -> None:
    if not 0 < temperature < math.inf:
        raise ValueError(f"temperature={temperature} must be above 0; what it tends to at 0 is `greedy`")
    if top_k is not None and top_k < 1:
        raise ValueError(f"top_k={top_k} must be at least 1; None keeps every token")
    if not 0 < top_p <= 1:
        raise ValueError(f"top_p={top_p} must lie in (0, 1]; 1 keeps every token")


def _write(
    model: Writer,
    source: Tensor,
    choose: Callable[[Tensor], Tensor],
    max_len: int,
    bos: int | None,
    eos: int,
    prefix: Tensor | None,
    forbidden: Sequence[int],
    n_alternatives: int,
) -> list[Hypothesis]:
    _check(model, source, max_len, bos, eos, prefix, forbidden, n_alternatives)
    n = len(source)
    if n == 0:
        return []
    ids, state = _begin(model, source, bos, prefix)
    trace = _Trace.empty(n, max_len, n_alternatives)
    rows = torch.arange(n)  # which sentence each row of the batch writes
    done = torch.zeros(n, dtype=torch.bool)
    for t in range(max_len):
        logits, state = _read(model.step, ids, state)
        log_probs = _allowed_log_probs(logits, eos, forbidden)
        ids = choose(log_probs)
        trace.record_alternatives(rows, t, log_probs)
        trace.record(rows, t, ids, log_probs.gather(1, ids[:, None])[:, 0])
        done |= ids.cpu() == eos
        n_done = int(done.sum())
        if n_done == len(rows):
            break
        if n_done * DEPARTURE >= len(rows):
            stay = (~done).nonzero()[:, 0]
            rows, done, stay = rows[stay], done[stay], stay.to(ids.device)
            ids, state = ids[stay], {name: tensor.index_select(0, stay) for name, tensor in state.items()}
    texts = []
    for row, written in enumerate(trace.ids.tolist()):
        length = written.index(eos) + 1 if eos in written else max_len
        log_probs = trace.log_probs[row, :length].tolist()
        if -math.inf in log_probs:
            raise ValueError(f"source {row}: {IMPOSSIBLE}")
        total = sum(log_probs)
        texts.append(
            Hypothesis(
                ids=written[:length],
                log_probs=log_probs,
                log_prob=total,
                score=total / length_penalty(length),
                finished=eos in written,
                alternatives=trace.alternatives(row, length),
            )
        )
    return texts


# ── several texts side by side ──────────────────────────────────────────────────────────────────


@torch.no_grad()
def beam_search(
    model: Writer,
    source: Int[Tensor, "batch source"],
    *,
    beam: int = 5,
    n_best: int = 1,
    penalty: Penalty = "power",
    alpha: float = 1.0,
    stop: Stop = "likely",
    max_len: int = 128,
    bos: int | None = BOS,
    eos: int = EOS,
    prefix: Int[Tensor, "batch prefix"] | None = None,
    forbidden: Sequence[int] = FORBIDDEN,
    n_alternatives: int = 0,
) -> list[list[Hypothesis]]:
    """For every source the `n_best` texts of highest score that `beam` beginnings lead to, best first.

    Each step continues every beginning by every token and keeps the `beam` likeliest that go on. A text is
    found when EOS puts it among the `beam` likeliest of its step, or when `max_len` cuts it off there; the
    `beam` best found are kept. `stop` says when a search ends:

        likely   `beam` texts are found, and the likeliest beginning, were it to end now, would score no better
                 than the worst of them (Hugging Face's early_stopping=False); then `beam=1` is `greedy`
        proved   nothing that could still be found can score better, however it goes on ("never"); with
                 alpha > 0 this takes many more steps
        first    `beam` texts are found (early_stopping=True)

    Fewer than `n_best` come back only where there are no more. Other arguments and errors as in `greedy`.
    """
    _check(model, source, max_len, bos, eos, prefix, forbidden, n_alternatives)
    if beam < 1:
        raise ValueError(f"beam={beam} must be at least 1")
    if not 1 <= n_best <= beam:
        raise ValueError(f"n_best={n_best} must lie between 1 and the beam's width, {beam}")
    if stop not in Stop.__args__:
        raise ValueError(f"stop={stop!r} is none of {', '.join(Stop.__args__)}")
    longest = length_penalty(max_len, penalty, alpha)
    enough = n_best if stop == "proved" else beam
    found: list[list[Hypothesis]] = [[] for _ in source]
    if not found:
        return []
    ids, state = _begin(model, source, bos, prefix)
    trace = _Trace.empty(len(found), max_len, n_alternatives)
    rows = list(range(len(found)))  # which sentence each search that still runs is about
    width = 1  # beginnings per search: one at first, then `beam`
    sums = torch.zeros(len(found), 1, dtype=torch.float64)
    fixed = set(state)  # tensors that no step has changed: alike in all beginnings of one sentence
    for t in range(max_len):
        logits, after = _read(model.step, ids, state)
        fixed = {name for name in fixed if after.get(name) is state[name]}
        log_probs = _allowed_log_probs(logits, eos, forbidden)
        trace.record_alternatives(torch.arange(len(ids)), t, log_probs)
        # Twice the beam, because half of it may end here; each beginning's best first, then the best of all.
        n, k = len(rows), min(2 * beam, log_probs.shape[1])
        each, tokens = (x.cpu().view(n, width * k) for x in log_probs.topk(k))
        totals, at = (sums.repeat_interleave(k, dim=1) + each).topk(min(2 * beam, width * k))
        if (missing := 2 * beam - totals.shape[1]) > 0:  # a vocabulary smaller than the beam leaves places empty
            totals, at = F.pad(totals, (0, missing), value=-math.inf), F.pad(at, (0, missing))
        origin = at // k + torch.arange(n)[:, None] * width  # the row of the batch that is continued
        token, log_prob = tokens.gather(1, at), each.gather(1, at)
        ends = (token == eos) | (t + 1 == max_len)

        reach = length_penalty(t + 1, penalty, alpha)
        for i, j in (ends & totals.isfinite())[:, :beam].nonzero().tolist():
            row, total, pool = int(origin[i, j]), float(totals[i, j]), found[rows[i]]
            text = Hypothesis(
                ids=[*trace.ids[row, :t].tolist(), int(token[i, j])],
                log_probs=[*trace.log_probs[row, :t].tolist(), float(log_prob[i, j])],
                log_prob=total,
                score=total / reach,
                finished=int(token[i, j]) == eos,
                alternatives=trace.alternatives(row, t + 1),
            )
            pool.append(text)
            pool.sort(key=lambda text: -text.score)
            del pool[beam:]

        sums, chosen = totals.masked_fill(ends, -math.inf).topk(beam)
        reach = max(reach, longest) if stop == "proved" else reach
        going = []
        for i, best in enumerate(sums[:, 0].tolist()):
            pool = found[rows[i]]
            better = len(pool) < enough or (stop != "first" and best / reach > pool[enough - 1].score)
            if better and best > -math.inf:
                going.append(i)
        if not going:
            break
        here = torch.tensor(going)
        origin, token, log_prob = (x.gather(1, chosen)[here].flatten() for x in (origin, token, log_prob))
        state = _follow(after, fixed, origin, None if width == beam and len(going) == n else here * width, beam)
        trace = trace.select(origin)
        trace.record(torch.arange(len(origin)), t, token, log_prob)
        ids, sums, rows, width = token.to(ids.device), sums[here], [rows[i] for i in going], beam
    if not all(found):
        raise ValueError(f"sources {[i for i, pool in enumerate(found) if not pool]}: {IMPOSSIBLE}")
    return [pool[:n_best] for pool in found]


def _follow(state: State, fixed: set[str], origin: Tensor, firsts: Tensor | None, beam: int) -> State:
    """The state of the beginnings that go on: rows `origin` of it.

    `fixed` tensors are alike within a search, so they stay as they are while every search goes on (`firsts`
    is None; else a row of each that does): the encoder's output need not be copied at every step.
    """
    followed = {}
    for name, tensor in state.items():
        index = origin
        if name in fixed:
            if firsts is None:
                followed[name] = tensor
                continue
            index = firsts.repeat_interleave(beam)
        followed[name] = tensor.index_select(0, index.to(tensor.device))
    return followed


# ── many sentences ──────────────────────────────────────────────────────────────────────────────


def batched(
    search: Callable[[Tensor], Sequence[Result]],
    sentences: Sequence[Sequence[int]],
    *,
    batch_tokens: int = 4096,
    left: bool = False,
    device: torch.device | str = "cpu",
) -> list[Result]:
    """`search` over sentences of any lengths, in batches of like length; results in the order given.

    >>> texts = batched(lambda source: greedy(model, source), encoded)  # one Hypothesis a sentence

    A batch holds up to `batch_tokens` source tokens, padding counted (or one longer sentence). The longest
    come first, so that a lack of memory shows at once. `left` pads on the left, as prompts are.
    """
    if batch_tokens < 1:
        raise ValueError(f"batch_tokens={batch_tokens} must be at least 1")
    _refuse_empty(sentences)
    waiting = sorted(range(len(sentences)), key=lambda i: -len(sentences[i]))
    results: dict[int, Result] = {}
    while waiting:
        n = max(1, batch_tokens // len(sentences[waiting[0]]))
        batch, waiting = waiting[:n], waiting[n:]
        found = search(pad([sentences[i] for i in batch], left=left).to(device))
        results.update(zip(batch, found, strict=True))
    return [results[i] for i in range(len(sentences))]


def pad(sentences: Sequence[Sequence[int]], *, left: bool = False) -> Int[Tensor, "batch position"]:
    """Sentences as one tensor, filled up with 0 on the right (prompts: on the left).

    Raises ValueError when one of them is empty.
    """
    _refuse_empty(sentences)
    width = max(map(len, sentences), default=0)
    gaps = [[PAD] * (width - len(ids)) for ids in sentences]
    rows = [[*gap, *ids] if left else [*ids, *gap] for ids, gap in zip(sentences, gaps, strict=True)]
    return torch.tensor(rows, dtype=torch.long).view(len(rows), width)


def _refuse_empty(sentences: Sequence[Sequence[int]]) -> None:
    if empty := [i for i, ids in enumerate(sentences) if len(ids) == 0]:
        raise ValueError(f"sentences {empty} (counted from 0) are empty: there is nothing to read. Leave them out")


# ── parts ───────────────────────────────────────────────────────────────────────────────────────

IMPOSSIBLE = "the model gives probability 0 to every token that may be written"


@dataclass(frozen=True)
class _Trace:
    """What the rows of a batch have written so far. It lies in the processor's memory, wherever the model is."""

    ids: Int[Tensor, "row step"]
    log_probs: Float[Tensor, "row step"]
    other_ids: Int[Tensor, "row step other"]
    other_log_probs: Float[Tensor, "row step other"]

    @classmethod
    def empty(cls, n: int, max_len: int, n_alternatives: int) -> "_Trace":
        others = (n, max_len, n_alternatives)
        return cls(
            torch.full((n, max_len), PAD),
            torch.zeros(n, max_len, dtype=torch.float64),
            torch.full(others, PAD),
            torch.full(others, -math.inf, dtype=torch.float64),
        )

    def record(self, rows: Tensor, step: int, ids: Tensor, log_probs: Tensor) -> None:
        self.ids[rows, step] = ids.cpu()
        self.log_probs[rows, step] = log_probs.cpu().double()

    def record_alternatives(self, rows: Tensor, step: int, log_probs: Tensor) -> None:
        if n := min(self.other_ids.shape[2], log_probs.shape[1]):
            best = log_probs.topk(n)
            self.other_ids[rows, step, :n] = best.indices.cpu()
            self.other_log_probs[rows, step, :n] = best.values.cpu().double()

    def alternatives(self, row: int, length: int) -> list[list[tuple[int, float]]]:
        ids, log_probs = self.other_ids[row, :length].tolist(), self.other_log_probs[row, :length].tolist()
        steps = (zip(*pair, strict=True) for pair in zip(ids, log_probs, strict=True))
        return [[(i, x) for i, x in step if x > -math.inf] for step in steps]

    def select(self, rows: Tensor) -> "_Trace":
        return _Trace(self.ids[rows], self.log_probs[rows], self.other_ids[rows], self.other_log_probs[rows])


def _begin(model: Writer, source: Tensor, bos: int | None, prefix: Tensor | None) -> tuple[Tensor, State]:
    """The token to feed first, one a row, and the state to feed it in; all that comes before it has been read."""
    read, first = (source[:, :-1], source[:, -1]) if bos is None else (source, source.new_full((len(source),), bos))
    feed = [first, *(() if prefix is None else prefix.unbind(1))]
    state = _read(model.start, read)
    for name, tensor in state.items():
        if not isinstance(tensor, Tensor) or tensor.shape[:1] != (len(source),):
            kind = f"of shape {tuple(tensor.shape)}" if isinstance(tensor, Tensor) else type(tensor).__name__
            raise ValueError(f"state[{name!r}] is {kind}, not a tensor whose first axis is the batch of {len(source)}")
    for ids in feed[:-1]:
        _, state = _read(model.step, ids, state)
    return feed[-1], state


def _read(method: Callable, ids: Tensor, *state: State) -> Any:
    """What a model's `start` or `step` says of these ids; a ValueError if they are not among its tokens."""
    try:
        return method(ids, *state)
    except IndexError as error:
        if "out of range in self" not in str(error):  # an embedding's words; any other is the model's own mistake
            raise
        raise ValueError(
            f"ids up to {int(ids.max())} are more than the model knows: are they its own tokenizer's?"
        ) from error


def _allowed_log_probs(logits: Tensor, eos: int, forbidden: Sequence[int]) -> Tensor:
    """The log of the softmax, at least in single precision, with −inf at what must not be written."""
    if logits.dim() != 2:
        raise ValueError(f"the model's logits have the shape {tuple(logits.shape)}, not [batch, vocab]")
    n_vocab = logits.shape[1]
    if eos >= n_vocab:
        raise ValueError(f"eos={eos} is not among the model's {n_vocab} tokens")
    log_probs = logits.log_softmax(-1, dtype=torch.promote_types(logits.dtype, torch.float32))
    if bool(log_probs[:, eos].isnan().any()):  # one NaN or infinite logit makes its whole row NaN
        raise ValueError("the model's logits are NaN or infinite: it has diverged, or its weights are broken")
    log_probs[:, [i for i in forbidden if i < n_vocab]] = -math.inf
    return log_probs


def _likeliest(log_probs: Float[Tensor, "batch vocab"]) -> Int[Tensor, " batch"]:
    if log_probs.device.type == "cpu":  # NumPy finds the largest of a row about ten times as fast
        return torch.from_numpy(log_probs.numpy().argmax(-1))
    return log_probs.argmax(-1)


def _check(
    model: Writer,
    source: Tensor,
    max_len: int,
    bos: int | None,
    eos: int,
    prefix: Tensor | None,
    forbidden: Sequence[int],
    n_alternatives: int,
) -> None:
    if not isinstance(model, Writer):
        raise TypeError(f"a {type(model).__name__} does not write: it needs `start` and `step`, see `Writer`")
    if getattr(model, "training", False):
        raise ValueError("the model is in training mode, and dropout would change what it writes: call model.eval()")
    if max_len < 1:
        raise ValueError(f"max_len={max_len} must be at least 1: a text has at least its EOS")
    if n_alternatives < 0:
        raise ValueError(f"n_alternatives={n_alternatives} must not be negative")
    if eos < 0 or eos in forbidden or min(forbidden, default=0) < 0:
        raise ValueError(f"eos={eos} and forbidden={tuple(forbidden)}: ids are ≥ 0, and EOS must be allowed")
    for name, ids in (("source", source), ("prefix", prefix)):
        if ids is not None and not (
            isinstance(ids, Tensor) and ids.dim() == 2 and ids.dtype in (torch.int32, torch.int64)
        ):
            kind = f"{ids.dtype} {tuple(ids.shape)}" if isinstance(ids, Tensor) else type(ids).__name__
            raise ValueError(
                f"{name} is {kind}, not an integer tensor [batch, position]: `pad` makes one of lists of ids"
            )
        if ids is not None and bool((ids < 0).any()):
            raise ValueError(f"{name} has the id {int(ids.min())}: ids count from 0")
    real = source != PAD
    if empty := (~real.any(1)).nonzero()[:, 0].tolist():
        raise ValueError(f"sources {empty} (counted from 0) are empty: there is nothing to read")
    side = "right" if bos is not None else "left"
    ordered = real if bos is not None else real.flip(1)
    if bool((ordered[:, 1:] & ~ordered[:, :-1]).any()):
        raise ValueError(f"padding (id {PAD}) stands before a real token: it belongs on the {side}, see `pad`")
    if prefix is not None and (len(prefix) != len(source) or bool((prefix == PAD).any())):
        raise ValueError(
            f"prefix of shape {tuple(prefix.shape)}: one row for each of the {len(source)} sources, without padding"
        )
