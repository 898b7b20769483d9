"""The two completers: cuts and the mark ▁, what is measured, a tiny run of the recipe, and what is shipped.

The corpus of the tiny runs is a toy grammar of our own: a verb tells which objects may follow.
"""

import dataclasses
import json
import math
import random
from collections import Counter
from pathlib import Path

import numpy as np
import pytest
import torch
from tokenizers import Tokenizer
from torch.testing import assert_close
from toy_language import quiet

from attention_decoded.checkpoints import SHIPPED, load_checkpoint
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import (
    BOS,
    ENGLISH_PIECE,
    EOS,
    PAD,
    SPECIAL_TOKENS,
    decode,
    encode,
    train_english_tokenizer,
)
from attention_decoded.decoding import Writer, beam_search, greedy, sample
from attention_decoded.recipes._completion import (
    LETTERS,
    Completer,
    Cut,
    Ids,
    OnePiece,
    Retyping,
    Texts,
    collate_decoder_only,
    collate_encoder_decoder,
    cut_at,
    draw_cuts,
    last_pieces,
    lengths,
    mark,
    pieces_of,
    places,
    suggest,
    typed,
    unmark,
)
from attention_decoded.recipes._completion_scores import (
    FrequentWords,
    NGrams,
    cross_entropies,
    interval,
    keystrokes_saved,
    next_word,
    perplexity,
    test_cuts,
)
from attention_decoded.recipes.completer import MODELS, Settings, build, config_of, english, load, main, run, score
from attention_decoded.scoring import text_perplexity
from attention_decoded.training import ResumeError

test_cuts.__test__ = False  # type: ignore[attr-defined]  (no test, despite its name)

OBJECTS = {
    "drinks": "tea water wine soup milk",
    "reads": "books letters news poems maps",
    "rides": "horses carts bikes",
}
SENTENCES = [
    f"{who} {when}{verb} {what}."
    for who in ("Tom", "Mary", "He", "She", "Everybody")
    for when in ("", "often ", "never ", "don't ")
    for verb, objects in OBJECTS.items()
    for what in objects.split()
]
TINY = {
    kind: Settings(
        kind=kind, epochs=3, n_vocab=110, min_count=1, d_model=16, n_heads=2, d_ff=19, n_layers=1, max_len=24,
        batch_tokens=211, warmup_steps=10, learning_rate=1e-2, ema=0.9, evaluate_every=2, dropout=0.1,
    )
    for kind in ("encoder-decoder", "decoder-only")
}  # fmt: skip
KINDS = list(TINY)


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "toy.tsv"
    rows = (f"{chr(0x4E00 + 11 * n)}{chr(0x4E05 + 7 * n)}。\t{text}" for n, text in enumerate(SENTENCES))
    path.write_text("\n".join(rows), encoding="utf-8")
    return path


@pytest.fixture(scope="module")
def tokenizer() -> Tokenizer:
    return train_english_tokenizer(SENTENCES, n_vocab=110, min_count=1)


@pytest.fixture(scope="module", params=KINDS)
def completer(request: pytest.FixtureRequest, tokenizer: Tokenizer) -> Completer:
    """An untrained one of either kind."""
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(5)
        model = build(config_of(TINY[request.param], tokenizer.get_vocab_size())).eval()
    return Completer(model, tokenizer)


# ── the mark and the cut ────────────────────────────────────────────────────────────────────────


def test_ids_of_a_beginning_and_of_a_rest_make_the_sentence(tokenizer: Tokenizer) -> None:
    ids = Ids(tokenizer)
    for text in [*SENTENCES[::7], "Tom's 3 xylophones; “no”!?", "a  b".replace("  ", " "), "…", "é 12"]:
        marked = mark(text)
        assert ids(marked) == next(encode(tokenizer, [text]))
        for place in range(len(marked) + 1):
            before, rest = ids(marked[:place]), ids(marked[place:])
            known = [i for i in before + rest if i == 1]
            if not known:  # an unknown character has no text to come back to
                assert decode(tokenizer, before + rest) == text


def test_a_cut_keeps_whole_words_apart_from_the_half_typed_one(tokenizer: Tokenizer) -> None:
    ids = Ids(tokenizer)
    marked = mark("Tom never drinks tea.")
    assert pieces_of(marked) == ["▁Tom", "▁never", "▁drinks", "▁tea", "."]
    at = marked.index("▁drinks")
    assert cut_at(marked, at, ids) == Cut(ids("▁Tom▁never"), [], ids("▁drinks▁tea."))
    assert cut_at(marked, at + 4, ids) == Cut(ids("▁Tom▁never"), ids("▁dri"), ids("nks▁tea."))
    assert cut_at(marked, 0, ids) == Cut([], [], ids(marked))
    assert cut_at(marked, len(marked), ids) == Cut(ids(marked), [], [])
    assert cut_at(marked, len(marked) - 1, ids) == Cut(ids("▁Tom▁never▁drinks▁tea"), [], ids("."))


def test_places_are_the_edges_of_pieces_and_the_insides_of_words() -> None:
    edges, inside = places("▁I▁am▁7x.")
    assert edges == [0, 2, 5, 7, 8, 9]
    assert inside == [4]  # a|m; behind a ▁ nothing is typed yet
    for text in ("", "x", "Everybody reads."):
        edges, inside = places(mark(text))
        assert edges[0] == 0
        assert edges[-1] == len(mark(text))
        assert not set(edges) & set(inside)
        assert all(mark(text)[place - 1] != "▁" for place in inside)


def test_cuts_depend_on_their_seed_alone_and_fall_where_they_should(tokenizer: Tokenizer) -> None:
    ids = Ids(tokenizer)
    marked = [mark(text) for text in SENTENCES] * 5
    one = draw_cuts(marked, ids, 0.4, 7)
    random.random()
    assert one == draw_cuts(marked, ids, 0.4, 7) != draw_cuts(marked, ids, 0.4, 8)
    assert 0.35 < np.mean([bool(cut.fragment) for cut in one]) < 0.45
    assert not any(cut.fragment for cut in draw_cuts(marked, ids, 0.0, 7))
    assert all(cut.fragment for cut in draw_cuts(marked, ids, 1.0, 7))
    whole = [[*cut.before, *cut.fragment, *cut.rest] for cut in one]
    assert [decode(tokenizer, row) for row in whole] == SENTENCES * 5


def test_typed_text_keeps_the_space_that_ends_a_word() -> None:
    assert typed("I want to g") == "▁I▁want▁to▁g"
    assert typed(" I  want\tto ") == "▁I▁want▁to▁"
    assert typed("") == typed("  ") == "▁"
    for text in ("I want to g", "I want ", "Yes.", ""):
        assert unmark(typed(text)) == text


def test_only_the_last_pieces_of_a_long_beginning_are_read(tokenizer: Tokenizer) -> None:
    ids = Ids(tokenizer)
    marked = mark(" ".join(SENTENCES[:9]))
    for n in (1, 2, 7, 13):
        last = last_pieces(marked, ids, n)
        assert marked.endswith(last)
        assert len(ids(last)) <= n or len(pieces_of(last)) == 1
    assert last_pieces("▁Tom▁never", ids, 24) == "▁Tom▁never"


# ── what the models are fed ─────────────────────────────────────────────────────────────────────

CUTS = [Cut([7, 8], [9], [10, 11, 12]), Cut([], [], [13]), Cut([14, 15], [], [])]


def test_batches_by_hand() -> None:
    source, target_in, target_out = collate_encoder_decoder(CUTS)
    assert source.tolist() == [[7, 8, 9, EOS], [EOS, 0, 0, 0], [14, 15, EOS, 0]]
    assert target_in.tolist() == [[BOS, 10, 11, 12], [BOS, 13, 0, 0], [BOS, 0, 0, 0]]
    assert target_out.tolist() == [[10, 11, 12, EOS], [13, EOS, 0, 0], [EOS, 0, 0, 0]]
    ids, targets = collate_decoder_only(CUTS)
    assert ids.tolist() == [[BOS, 7, 8, 9, 10, 11, 12], [BOS, 13, *[0] * 5], [BOS, 14, 15, *[0] * 4]]
    assert targets.tolist() == [[7, 8, PAD, 10, 11, 12, EOS], [13, EOS, *[0] * 5], [14, 15, EOS, *[0] * 4]]
    _, targets = collate_decoder_only(CUTS, learn_before=False)
    assert targets.tolist() == [[0, 0, 0, 10, 11, 12, EOS], [13, EOS, *[0] * 5], [0, 0, EOS, *[0] * 4]]


@pytest.mark.parametrize("kind", KINDS)
def test_lengths_are_the_widths_of_the_batch(kind) -> None:
    tensors = (collate_encoder_decoder if kind == "encoder-decoder" else collate_decoder_only)(CUTS)
    widths = [tensor.shape[1] for tensor in tensors]
    assert [max(column) for column in zip(*(lengths(cut, kind) for cut in CUTS), strict=True)] == widths[
        : len(widths) - 1
    ]


# ── completing ──────────────────────────────────────────────────────────────────────────────────


def test_both_kinds_answer_for_the_same_tokens(completer: Completer) -> None:
    """Cross-entropies token by token, by `step`: nothing of the batching, the padding or the mask is shared."""
    cuts = draw_cuts([mark(text) for text in SENTENCES[::9]], completer.ids, 0.4, 3)
    found = cross_entropies(completer, cuts)
    for cut, total in zip(cuts, found, strict=True):
        prompt = [*cut.before, *cut.fragment]
        if completer.kind == "encoder-decoder":
            feed, state = [BOS], completer.model.start(torch.tensor([[*prompt, EOS]]))
        else:
            *past, last = [BOS, *prompt]
            feed, state = [last], completer.model.start(torch.tensor([past], dtype=torch.long).view(1, len(past)))
        expected = 0.0
        with torch.no_grad():
            for token in [*cut.rest, EOS]:
                logits, state = completer.model.step(torch.tensor(feed), state)
                expected -= float(logits.log_softmax(-1)[0, token])
                feed = [token]
        assert total == pytest.approx(expected, rel=1e-4)


def test_from_the_very_beginning_it_is_the_perplexity_of_scoring(completer: Completer) -> None:
    if completer.kind == "encoder-decoder":
        pytest.skip("it has no text perplexity: it writes what follows a source")
    marked = [mark(text) for text in SENTENCES[::9]]
    cuts = [[Cut([], [], completer.ids(text))] for text in marked]
    ours = perplexity(lambda flat: cross_entropies(completer, flat), cuts)
    theirs = text_perplexity(completer.model, [cut.rest for [cut] in cuts])
    assert ours["value"] == pytest.approx(theirs.value, rel=1e-4)
    assert ours["low"] == pytest.approx(theirs.low, rel=0.01)  # other draws
    assert ours["high"] == pytest.approx(theirs.high, rel=0.01)


@pytest.mark.parametrize(
    ("marked", "before", "half"),
    [
        ("▁Tom▁never▁dr", "▁Tom▁never", "▁dr"),
        ("▁Tom▁never", "▁Tom", "▁never"),  # it may go on: "nevertheless"
        ("▁Tom▁", "▁Tom", "▁"),
        ("▁", "", "▁"),
        ("▁T", "", "▁T"),
        ("▁Tom.", "▁Tom.", ""),  # a sign does not grow, nor does a digit
        ("▁Tom▁7", "▁Tom▁7", ""),
        ("▁Tom.T", "▁Tom.", "T"),
        ("▁Tom▁Ωm", "▁Tom▁Ω", "m"),
        ("▁Tom▁zü", "▁Tom▁zü", ""),  # no token has that letter
        ("▁Tom▁" + "mo" * 12, "▁Tom▁" + "mo" * 12, ""),
        ("▁Tom▁" + "mo" * 11, "▁Tom", "▁" + "mo" * 11),
    ],
)
def test_the_word_that_may_grow_is_written_again(marked: str, before: str, half: str, tokenizer: Tokenizer) -> None:
    model = build(config_of(TINY["decoder-only"], tokenizer.get_vocab_size()))
    assert Completer(model, tokenizer).beginning(marked) == (before, half)


def test_letters_are_those_of_a_piece() -> None:
    assert ENGLISH_PIECE.split("|")[0] == f"▁?{LETTERS}"


def test_tokens_that_fit(tokenizer: Tokenizer) -> None:
    texts = Texts(tokenizer)
    assert texts.joined([BOS, *Ids(tokenizer)("▁Tom▁never"), EOS]) == "▁Tom▁never"
    for letters in ("▁", "▁d", "▁drinks", "T", "om", "zz"):
        fits = {text for text in texts.of if text and (text.startswith(letters) or letters.startswith(text))}
        assert {texts.of[i] for i in texts.fitting(letters).nonzero()[:, 0].tolist()} == fits
    assert {"▁", "▁d", "▁drinks"} <= {text for text, fits in zip(texts.of, texts.fitting("▁d"), strict=True) if fits}
    assert not texts.fitting("▁d")[: len(SPECIAL_TOKENS)].any()


def start_of(completer: Completer, writer: Writer, before: str) -> tuple[torch.Tensor, dict[str, torch.Tensor]]:
    """What is fed first behind one beginning, and the state to feed it in."""
    ids = torch.tensor([completer.prompt(before)])
    if completer.kind == "encoder-decoder":
        return torch.tensor([BOS]), writer.start(ids)
    return ids[:, -1], writer.start(ids[:, :-1])


@torch.no_grad()
def test_typed_letters_are_written_again_with_the_models_own_probabilities(completer: Completer) -> None:
    """Whatever is written begins as typed; a token that fits keeps its probability, one that does not has none."""
    model, texts = completer.model, completer.texts
    writer = Retyping(model, texts, ["▁dri"])
    (feed, state), (_, own) = start_of(completer, writer, "▁Tom"), start_of(completer, model, "▁Tom")
    written = ""
    for token in completer.ids("▁d") + completer.ids("r") + completer.ids("inks") + [9]:
        logits, state = writer.step(feed, state)
        free, own = model.step(feed, own)
        found, log_probs = logits.log_softmax(-1)[0], free.log_softmax(-1)[0]
        letters = "▁dri"[len(written) :]
        fits = texts.fitting(letters) if letters else torch.ones_like(texts.fitting("a"))
        assert_close(found[fits], log_probs[fits])
        assert bool((found[~fits][1:] == -math.inf).all())  # the first is <pad>, which has the rest
        assert bool(writer.is_beyond(state)) == (len(written) > 4)
        feed, written = torch.tensor([token]), written + texts.of[token]
    assert written.startswith("▁drinks")


@pytest.mark.parametrize("search", [greedy, beam_search, sample])
def test_completions_begin_as_typed(completer: Completer, search) -> None:
    beginnings = ["Tom never dr", "Tom never ", "", "Mary reads", "She ", "3", "Tom drinks Ω", "zü", "mo" * 20, "T."]
    options = {"beam": 3, "n_best": 2} if search is beam_search else {}
    texts = completer.complete(beginnings, search, max_len=9, **options)
    for start, found in zip(beginnings, texts, strict=True):
        assert len(found) == options.get("n_best", 1)
        assert all(text.startswith(start) for text in found)


def test_repeated_sources_share_their_letters(completer: Completer) -> None:
    """As `sample` is called for several texts from one beginning."""

    def three(writer, source, **options):
        found = sample(writer, source.repeat_interleave(3, 0), generator=torch.Generator().manual_seed(1), **options)
        return [found[i : i + 3] for i in range(0, len(found), 3)]

    beginnings = ["Tom never dr", "Mary ", "She re"]
    for start, texts in zip(beginnings, completer.complete(beginnings, three, max_len=9), strict=True):
        assert len(texts) == 3
        assert all(text.startswith(start) for text in texts)


def test_completions_do_not_depend_on_who_shares_the_batch(completer: Completer) -> None:
    beginnings = ["Tom never dr", "S", "", "Everybody often rides h", "Mary "]
    together = completer.complete(beginnings, max_len=7)
    assert together == [completer.complete([one], max_len=7)[0] for one in beginnings]


@torch.no_grad()
def test_a_suggestion_has_the_probability_of_a_whole_piece(completer: Completer) -> None:
    """Token by token by the model alone: the product, times that of all that cannot belong to the same piece."""
    texts = completer.texts
    for before, half in (("▁Tom", "▁dri"), ("▁Tom", "▁"), ("▁Tom▁7", ""), ("", "▁"), ("▁She.", "'")):
        writer = OnePiece(Retyping(completer.model, texts, [half]))
        source = torch.tensor([completer.prompt(before)])
        bos = BOS if completer.kind == "encoder-decoder" else None
        found = beam_search(writer, source, beam=23, n_best=23, alpha=0.0, max_len=9, bos=bos)[0]
        assert len(found) == 23
        assert any(text.finished for text in found)
        for text in found:
            assert texts.joined(text.ids).startswith(half)
            (feed, state), total, written = start_of(completer, completer.model, before), 0.0, ""
            for token in text.ids:
                logits, state = completer.model.step(feed, state)
                log_probs = logits.log_softmax(-1)[0]
                if token == EOS and len(written) > len(half):
                    ends = [i for i, more in enumerate(texts.of) if more and ends_piece(before + written, more)]
                    total += float(log_probs[[*ends, EOS]].logsumexp(-1))
                else:
                    assert len(written) <= len(half) or not ends_piece(before + written, texts.of[token])
                    total += float(log_probs[token])
                feed, written = torch.tensor([token]), written + texts.of[token]
            assert text.log_prob == pytest.approx(total, abs=1e-4)


def ends_piece(text: str, more: str) -> bool:
    """Whether the last piece of the text stays as it is when more is written."""
    pieces = pieces_of(text)
    return pieces_of(text + more)[: len(pieces)] == pieces


def test_suggestions_are_the_rest_of_a_piece_or_the_next_one(completer: Completer) -> None:
    prompts = [mark(text)[:place] for text in SENTENCES[::11] for place in (1, 3, 4, 5, 9, len(text))]
    together = suggest(completer, prompts)
    assert together == [suggest(completer, [marked])[0] for marked in prompts]
    assert any(together)
    for marked, guess in zip(prompts, together, strict=True):
        assert len(pieces_of(marked + guess)) - len(pieces_of(marked)) in (0, 1)


def test_a_wider_beam_never_finds_a_less_likely_suggestion_here(tokenizer: Tokenizer) -> None:
    """The likeliest first token need not begin the likeliest word: greedy takes it, a beam looks further.

    The writer is a table of our own, so that the answer is known: ▁d (0.5) leads to many words, ▁drinks (0.3) is one.
    """
    texts = Texts(tokenizer)
    one, whole, letters = (tokenizer.token_to_id(text) for text in ("▁d", "▁drinks", "o"))
    assert None not in (one, whole, letters)

    class Table:
        def start(self, source):
            return {"n": torch.zeros(len(source), dtype=torch.long)}

        def step(self, ids, state):
            logits = torch.zeros(len(ids), len(texts.of))  # behind ▁d every token is as likely
            for row, (n, token) in enumerate(zip(state["n"].tolist(), ids.tolist(), strict=True)):
                if n == 0:
                    logits[row] = -9.0
                    logits[row, one], logits[row, whole] = math.log(0.5), math.log(0.3)
                elif token == whole:
                    logits[row, EOS] = 20.0
            return logits, {"n": state["n"] + 1}

    def best(beam):
        writer = OnePiece(Retyping(Table(), texts, ["▁d"]))
        [[text]] = beam_search(writer, torch.tensor([[5]]), beam=beam, alpha=0.0, max_len=5)
        return texts.joined(text.ids)

    assert best(1) != "▁drinks"
    assert best(4) == "▁drinks"


# ── measuring, by hand ──────────────────────────────────────────────────────────────────────────


def test_keystrokes_by_hand() -> None:
    """▁ab▁cd. is typed: a, accept 'b', accept ' cd', '.': 4 keys for 6 characters."""
    script = {"▁": "x", "▁a": "b", "▁ab": "▁cd", "▁ab▁cd": "x"}
    asked = []

    def scripted(prompts):
        asked.extend(prompts)
        return [script[prompt] for prompt in prompts]

    assert keystrokes_saved(scripted, ["▁ab▁cd."])["value"] == pytest.approx(1 - 4 / 6, abs=1e-4)
    assert asked == list(script)


def test_a_wrong_or_half_right_suggestion_saves_nothing() -> None:
    sentences = [mark(text) for text in SENTENCES[::13]]
    for lie in ("", "q", "▁zebra"):
        assert keystrokes_saved(lambda prompts, lie=lie: [lie] * len(prompts), sentences)["value"] == 0

    def one_letter_too_few(prompts):
        return [next(s for s in sentences if s.startswith(p))[len(p) :][:1] for p in prompts]

    assert keystrokes_saved(one_letter_too_few, sentences)["value"] == 0


def test_who_knows_it_all_presses_one_key_a_piece() -> None:
    for text in (mark(text) for text in SENTENCES[::13]):

        def oracle(prompts, text=text):
            ends = (next(edge for edge in places(text)[0] if edge > len(prompt)) for prompt in prompts)
            return [text[len(prompt) : end] for prompt, end in zip(prompts, ends, strict=True)]

        saved = 1 - len(pieces_of(text)) / (len(text) - 1)
        assert keystrokes_saved(oracle, [text])["value"] == pytest.approx(saved, abs=1e-4)
        assert next_word(oracle, [text])["value"] == 1


def test_next_words_are_asked_behind_a_space_and_compared_whole() -> None:
    asked = []

    def scripted(prompts):
        asked.extend(prompts)
        return ["Tom", "dri", "tea", "3"]

    figure = next_word(scripted, ["▁Tom▁drinks▁tea▁3▁times."])
    assert asked == ["▁", "▁Tom▁", "▁Tom▁drinks▁", "▁Tom▁drinks▁tea▁3▁"]
    assert figure["value"] == 0.5
    assert figure["signature"].startswith("next_word|words:4|bs:1000|")


def test_the_interval_is_that_of_resampled_sentences() -> None:
    rng = np.random.default_rng(1)
    counts = rng.integers(3, 17, 501).tolist()
    totals = [int(rng.binomial(n, 0.3)) for n in counts]
    figure = interval("x|y", totals, counts)
    assert figure["value"] == pytest.approx(sum(totals) / sum(counts), abs=1e-4)
    assert figure["n"] == 501
    margin = 1.96 * math.sqrt(0.3 * 0.7 / sum(counts))
    assert figure["low"] == pytest.approx(figure["value"] - margin, abs=0.004)
    assert figure["high"] == pytest.approx(figure["value"] + margin, abs=0.004)
    same = interval("x|y", [2] * 7, [4] * 7, lambda share: 1 - share)
    assert (same["low"], same["value"], same["high"]) == (0.5, 0.5, 0.5)


# ── baselines, by hand ──────────────────────────────────────────────────────────────────────────


def test_ngrams_by_hand() -> None:
    grams = NGrams([Cut([5], [], [6, 5]), Cut([5], [6], [7])], 11)
    # Learned: BOS→5, 5→6, 6→5, 5→EOS; BOS→5, 6→7, 7→EOS (6, half typed, is not to be predicted).
    assert grams.tokens == Counter({5: 3, 6: 1, 7: 1, EOS: 2})
    assert grams.n == 7
    cut = Cut([5], [], [6])
    expected = -math.log(0.8 * 1 / 2 + 0.2 * 2 / 18) - math.log(0.8 * 0 + 0.2 * 3 / 18)  # 5→6, 6→EOS
    assert grams.cross_entropies([cut], share=0.8)[0] == pytest.approx(expected)
    assert grams.cross_entropies([cut], share=0.0)[0] == pytest.approx(-math.log(2 / 18) - math.log(3 / 18))


def test_ngrams_are_distributions_and_the_share_is_the_best(tokenizer: Tokenizer) -> None:
    ids = Ids(tokenizer)
    marked = [mark(text) for text in SENTENCES]
    grams = NGrams(draw_cuts(marked[::2], ids, 0.3, 1), tokenizer.get_vocab_size())
    for a in (BOS, *ids("▁Tom"), *ids("▁drinks")):
        pairs = [grams.pairs[a, b] / grams.before[a] for b in range(tokenizer.get_vocab_size())]
        assert sum(pairs) == pytest.approx(1)
    held = test_cuts(marked[1::2], ids, 0.3)
    flat = [cut for group in held for cut in group]
    share = grams.best_share(held)
    assert sum(grams.cross_entropies(flat, share=share)) <= sum(grams.cross_entropies(flat, share=0.5))


def test_frequent_words_by_hand() -> None:
    known = FrequentWords(["▁a▁bat.", "▁a▁bat.", "▁a▁ball", "▁the▁cat", "▁the▁band"])
    prompts = ["▁", "▁a", "▁a▁", "▁a▁b", "▁a▁bal", "▁the▁b", "▁a▁c", "▁zzz", "▁a▁bat", "▁a▁ball", "▁the▁bat"]
    guesses = ["a", "▁bat", "bat", "at", "l", "and", "at", "", ".", "", "."]
    assert known(prompts) == guesses


# ── the recipe ──────────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("kind", KINDS)
def test_a_tiny_run_ends_to_end(kind, corpus: Path, tmp_path: Path) -> None:
    said: list[str] = []
    card = run("mine", TINY[kind], out=tmp_path / "out", work=tmp_path / "work", pairs=corpus, report=said.append)
    model, tokenizer, again = load(tmp_path / "out")
    assert card == again
    assert not model.training
    assert card["training"]["finished"]
    assert card["training"]["epochs"] == 3
    assert set(card["results"]) == {"validation", "test", "test_baselines"}
    figures = card["results"]["test"]
    assert set(figures) == {"perplexity", "next_word", "keystrokes_saved"}
    assert all(figure["low"] <= figure["value"] <= figure["high"] for figure in figures.values())
    assert figures["perplexity"]["value"] < tokenizer.get_vocab_size() / 2
    assert set(card["results"]["test_baselines"]) == {"unigram", "bigram", "frequent_words"}
    assert score(tmp_path / "out", corpus) == figures
    lines = [json.loads(line) for line in (tmp_path / "work" / "log.jsonl").read_text("utf-8").splitlines()]
    seen = {line["validation_epoch"]: line["validation_perplexity"] for line in lines if "validation_epoch" in line}
    assert list(seen) == [2, 3]  # every second epoch, and the last
    assert card["training"]["best_epoch"] == min(seen, key=seen.__getitem__)
    assert any("written to" in line for line in said)
    # A finished run is prolonged, and a run under other settings refused.
    longer = run("mine", dataclasses.replace(TINY[kind], epochs=4), out=tmp_path / "out", work=tmp_path / "work",
                 pairs=corpus, report=quiet)  # fmt: skip
    assert longer["training"]["steps"] == pytest.approx(card["training"]["steps"] * 4 / 3, abs=3)
    with pytest.raises(ResumeError):
        run("mine", dataclasses.replace(TINY[kind], inside=0.1), out=tmp_path / "out", work=tmp_path / "work",
            pairs=corpus, report=quiet)  # fmt: skip


def test_an_interrupted_run_ends_with_the_same_weights(corpus: Path, tmp_path: Path) -> None:
    go, kind = {"pairs": corpus, "report": quiet}, "encoder-decoder"
    run("mine", TINY[kind], out=tmp_path / "a", work=tmp_path / "wa", **go)
    for _ in range(2):
        run("mine", TINY[kind], out=tmp_path / "b", work=tmp_path / "wb", stop_after_minutes=0.0, **go)
    part = load_checkpoint(tmp_path / "b").card
    assert part["training"]["steps"] == 2
    assert not part["training"]["finished"]
    assert set(part["results"]) == {"validation"}  # the test split stays untouched
    run("mine", TINY[kind], out=tmp_path / "b", work=tmp_path / "wb", **go)
    one, other = load_checkpoint(tmp_path / "a").state, load_checkpoint(tmp_path / "b").state
    assert one.keys() == other.keys()
    assert all(torch.equal(one[name], other[name]) for name in one)


def test_it_learns_the_grammar_and_beats_counting(corpus: Path, tmp_path: Path) -> None:
    """After a verb only its own objects: a bigram knows that too, but a half-typed word it does not understand."""
    settings = dataclasses.replace(TINY["decoder-only"], epochs=18, dropout=0.0, d_model=32, evaluate_every=18)
    card = run("mine", settings, out=tmp_path / "out", work=tmp_path / "work", pairs=corpus, report=quiet)
    ours, theirs = card["results"]["test"], card["results"]["test_baselines"]
    assert (
        ours["perplexity"]["value"] < theirs["bigram"]["perplexity"]["value"] < theirs["unigram"]["perplexity"]["value"]
    )
    model, tokenizer, _ = load(tmp_path / "out")
    completer = Completer(model, tokenizer)
    assert suggest(completer, ["▁Tom▁never▁dri", "▁Mary▁read"]) == ["nks", "s"]
    assert suggest(completer, ["▁Mary▁never▁drinks▁"])[0] in OBJECTS["drinks"].split()


def test_pitfall_21_the_vocabulary_comes_from_the_training_split_alone(tmp_path: Path) -> None:
    path = tmp_path / "unique.tsv"
    path.write_text("\n".join(f"茶{chr(0x4E00 + 7 * n)}。\tA {chr(0x4E00 + 7 * n)} b." for n in range(300)), "utf-8")
    splits = load_splits(path)
    settings = dataclasses.replace(TINY["decoder-only"], epochs=1, n_vocab=400)
    run("mine", settings, out=tmp_path / "out", work=tmp_path / "work", pairs=path, report=quiet)
    vocabulary = "".join(load(tmp_path / "out")[1].get_vocab())
    assert splits.test
    assert all(pair.en[2] in vocabulary for pair in splits.train)
    assert not any(pair.en[2] in vocabulary for pair in (*splits.validation, *splits.test))


def test_the_command_line(corpus: Path, tmp_path: Path, capsys: pytest.CaptureFixture) -> None:
    options = ["--pairs", str(corpus), "--out", str(tmp_path / "o"), "--work", str(tmp_path / "w"), "--minutes", "1e-9"]
    main(["completer", *options])
    assert "sentences" in capsys.readouterr().out
    assert [path.name for path in (tmp_path / "o").iterdir()] == ["completer"]
    for wrong in (["nobody"], ["--epochs", "0"]):
        with pytest.raises(SystemExit) as left:
            main(wrong)
        assert left.value.code == 2
    with pytest.raises(ValueError, match="lies between 0 and 1"):
        dataclasses.replace(TINY["decoder-only"], inside=1.5)


def test_too_few_sentences_are_refused(tmp_path: Path) -> None:
    path = tmp_path / "few.tsv"
    path.write_text("茶。\tTea.\n水。\tWater.", "utf-8")
    with pytest.raises(ValueError, match="too few"):
        run("mine", TINY["decoder-only"], out=tmp_path / "o", work=tmp_path / "w", pairs=path, report=quiet)


def test_both_models_are_of_one_size() -> None:
    sizes = []
    for settings in MODELS.values():
        model = build(config_of(settings, settings.n_vocab))
        sizes.append(sum(parameter.numel() for parameter in model.parameters()))
    assert max(sizes) / min(sizes) < 1.02
    assert max(sizes) <= 2_500_000


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.parametrize("name", MODELS)
def test_the_shipped_completers_are_small_and_as_their_cards_say(name: str) -> None:
    model, tokenizer, card = load(name)
    assert sum(path.stat().st_size for path in (SHIPPED / name).iterdir()) < 5_000_000
    assert card["training"]["finished"]
    assert card["settings"]["kind"] == MODELS[name].kind
    assert sum(parameter.numel() for parameter in model.parameters()) == card["parameters"]
    results = card["results"]
    for figure, better in (
        ("perplexity", "bigram"),
        ("next_word", "frequent_words"),
        ("keystrokes_saved", "frequent_words"),
    ):
        ours, theirs = results["test"][figure], results["test_baselines"][better][figure]
        if figure == "perplexity":
            assert ours["high"] < theirs["low"]
        else:
            assert ours["low"] > theirs["high"]
    found = score(name, n_sentences=60)
    for figure, again in found.items():
        stated = results["test"][figure]
        assert again["low"] <= stated["value"] <= again["high"], figure
    texts = Completer(model, tokenizer).complete(["I would like to g", "Do you ", "She is my"])
    assert texts[0][0].startswith("I would like to g")
    assert len(texts[1][0]) > len("Do you ")


def test_the_shipped_completers_share_tokenizer_and_test_tokens() -> None:
    one, other = (load_checkpoint(name).card for name in MODELS)
    assert one["sha256"]["tokenizer.json"] == other["sha256"]["tokenizer.json"]
    signatures = [card["results"]["test"]["perplexity"]["signature"] for card in (one, other)]
    assert signatures[0] == signatures[1]
    assert one["results"]["test_baselines"] == other["results"]["test_baselines"]


def test_english_sentences_are_each_there_once(corpus: Path) -> None:
    pairs = load_splits(corpus).train
    assert english([*pairs, *pairs]) == english(pairs) == sorted({mark(pair.en) for pair in pairs})
