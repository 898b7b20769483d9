"""The command line: what it prints, how it fails, and that no text is ever taken for anything but text.

The checkpoints here are tiny and hardly trained, on a toy grammar. The shipped translator is
tested too, as soon as it is there.
"""

import contextlib
import html
import io
import json
import os
import resource
import signal
import subprocess
import sys
import time
import zipfile
from html.parser import HTMLParser
from pathlib import Path

import numpy as np
import pytest
import torch

from attention_decoded import cli
from attention_decoded.checkpoints import SHIPPED, load_checkpoint, save_checkpoint
from attention_decoded.data.normalize import normalize_chinese
from attention_decoded.data.pairs import load_splits
from attention_decoded.data.tokenization import EOS, tokens, train_english_tokenizer, train_tokenizer
from attention_decoded.decoding import beam_search
from attention_decoded.files import sha256
from attention_decoded.recipes import completer, translator
from attention_decoded.recipes.completer import Settings as CompleterSettings
from attention_decoded.rnn import build_rnn
from attention_decoded.training import TrainingSettings, collate_pairs, sequence_loss, train
from attention_decoded.transformer import build_transformer

WHO = {"我": "I", "他": "he", "她": "she", "谁": "who", "你": "you", "它": "it"}
WHEN = {"": "", "天天": "daily ", "不": "never ", "也": "also ", "先": "first ", "再": "again ", "都": "always "}
VERBS = {"喝": "drinks", "读": "reads"}
OBJECTS = {"喝": {"茶": "tea", "水": "water", "酒": "wine"}, "读": {"书": "books", "信": "letters", "报": "papers"}}
ROWS = [
    f"{who}{when}{verb}{what}。\t{WHO[who]} {WHEN[when]}{VERBS[verb]} {OBJECTS[verb][what]}."
    for who in WHO
    for when in WHEN
    for verb in VERBS
    for what in OBJECTS[verb]
]
HOSTILE = "<script>alert(1)</script>我\"'><img src=x onerror=alert(2)>&lt;b&gt;</td></table>"


@pytest.fixture(scope="module")
def corpus(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("corpus") / "toy.tsv"
    path.write_text("\n".join(ROWS), encoding="utf-8")
    return path


def make_translator(folder: Path, corpus: Path, *, rnn: bool | None = None) -> Path:
    """A translator that has learned for a moment, and its card. `rnn`: an RNN, with attention or without."""
    splits = load_splits(corpus)
    source = train_tokenizer([p.zh for p in splits.train], n_vocab=60, min_count=1)
    target = train_english_tokenizer([p.en for p in splits.train], n_vocab=90, min_count=1)
    sizes = {"n_source_vocab": source.get_vocab_size(), "n_target_vocab": target.get_vocab_size()}
    with torch.random.fork_rng(devices=[]):
        torch.manual_seed(3)
        if rnn is None:
            config = sizes | {"d_model": 14, "n_heads": 2, "d_ff": 17, "n_encoder_layers": 1, "n_decoder_layers": 2}
            model = build_transformer(config)
        else:
            config = sizes | {"attention": rnn, "d_embedding": 11, "d_hidden": 13}
            model = build_rnn(config)
    encoded = translator.encode_pairs(splits.train, source, target).ids
    settings = TrainingSettings(steps=40, batch_tokens=700, learning_rate=1e-2, warmup_steps=10, precision="fp32")
    for _ in train(model, lambda epoch: encoded, collate_pairs, sequence_loss, settings):
        pass
    model.load_state_dict({name: tensor.half().float() for name, tensor in model.eval().state_dict().items()})
    results = {"alpha": 0.8}
    if rnn is None:
        results["test"] = {
            "beam_2": translator.measure(
                model, source, target, splits.test, lambda m, x: beam_search(m, x, beam=2, alpha=0.8)
            ),
        }
    card = {
        "summary": "A translator of nothing.",
        "recipe": f"python -m attention_decoded.recipes.{'translator' if rnn is None else 'rnn_translators'}",
        "data": {"title": corpus.name, "sha256": sha256_of(corpus)},
        "settings": {"max_len": 23},
        "results": results,
    }
    files = {translator.SOURCE_TOKENIZER: source, translator.TARGET_TOKENIZER: target}
    save_checkpoint(folder, model.state_dict(), config, card, {k: v.to_str().encode() for k, v in files.items()})
    return folder


def sha256_of(path: Path) -> str:
    return sha256(path.read_bytes())


@pytest.fixture(scope="module")
def tiny(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    return make_translator(tmp_path_factory.mktemp("translator") / "tiny", corpus)


@pytest.fixture(scope="module")
def typist(tmp_path_factory: pytest.TempPathFactory, corpus: Path) -> Path:
    """A completer that has learned for a moment."""
    folder = tmp_path_factory.mktemp("completer")
    settings = CompleterSettings(
        kind="decoder-only", epochs=2, n_vocab=90, min_count=1, d_model=14, n_heads=2, d_ff=17, n_layers=1, max_len=20
    )
    completer.run("typist", settings, out=folder / "typist", work=folder / "work", pairs=corpus, report=lambda _: None)
    return folder / "typist"


class Result:
    def __init__(self, status: int, out: str, err: str):
        self.status, self.out, self.err = status, out, err

    @property
    def error(self) -> str:
        """The error message; it must be the only one, on one line, without a traceback."""
        assert self.status == 1
        assert self.err.count("\n") == 1
        assert self.err.startswith("attention-decoded: error: ")
        assert "Traceback" not in self.err
        return self.err.strip()


@pytest.fixture
def run(capsys: pytest.CaptureFixture, monkeypatch: pytest.MonkeyPatch):
    def go(*arguments: object, stdin: bytes | None = None) -> Result:
        monkeypatch.setattr(sys, "stdin", io.TextIOWrapper(io.BytesIO(stdin or b"")))
        capsys.readouterr()
        try:
            status = cli.main([str(argument) for argument in arguments])
        except SystemExit as error:
            status = error.code
        captured = capsys.readouterr()
        return Result(status, captured.out, captured.err)  # type: ignore[arg-type]

    return go


def command(*arguments: object) -> list[str]:
    return [sys.executable, "-m", "attention_decoded.cli", *map(str, arguments)]


# ── help and wrong usage ────────────────────────────────────────────────────────────────────────


def test_help_is_quick_and_imports_next_to_nothing() -> None:
    code = (
        "import sys\nfrom attention_decoded import cli\n"
        "try:\n    cli.main(['translate', '--help'])\nexcept SystemExit as error:\n    assert error.code == 0\n"
        "assert not {'torch', 'numpy', 'tokenizers', 'matplotlib'} & set(sys.modules)\n"
    )
    before = resource.getrusage(resource.RUSAGE_CHILDREN)
    result = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True)
    after = resource.getrusage(resource.RUSAGE_CHILDREN)
    assert "--attention FILE.html" in result.stdout
    assert after.ru_utime + after.ru_stime - before.ru_utime - before.ru_stime < 0.5  # seconds of processor


@pytest.mark.parametrize("name", ["translate", "complete", "train", "score", "export"])
def test_every_command_explains_itself_with_examples(run, name: str) -> None:
    result = run(name, "--help")
    assert result.status == 0
    assert "examples:\n  attention-decoded" in result.out
    assert name in run("--help").out


def test_the_entry_point_is_declared(root: Path) -> None:
    import tomllib

    scripts = tomllib.loads((root / "pyproject.toml").read_text("utf-8"))["project"]["scripts"]
    assert scripts == {"attention-decoded": "attention_decoded.cli:main"}


@pytest.mark.parametrize(
    "arguments",
    [
        [],
        ["fly"],
        ["translate", "--beam", "0", "好"],
        ["translate", "--beam", "x", "好"],
        ["translate", "--beam", "2", "--n-best", "3", "好"],
        ["translate", "--top-p", "0.9", "好"],
        ["translate", "--sample", "--top-p", "1.5", "好"],
        ["translate", "--sample", "--temperature", "0", "好"],
        ["translate", "--sample", "--beam", "3", "好"],
        ["train", "nothing"],
        ["export", "translator"],
    ],
)
def test_wrong_usage_leaves_with_2(run, arguments: list[str]) -> None:
    result = run(*arguments)
    assert (result.status, result.out) == (2, "")
    assert "usage: attention-decoded" in result.err


# ── translate ───────────────────────────────────────────────────────────────────────────────────


def expected(folder: Path, sentences: list[str], beam: int = 5) -> list[str]:
    model, source, target, _ = translator.load(folder)
    return translator.translate(model, source, target, sentences, lambda m, x: beam_search(m, x, beam=beam, alpha=0.8))


def test_arguments_and_stdin_give_one_line_each_in_order(run, tiny: Path) -> None:
    sentences = ["我喝茶。", "她天天读书。", "谁也不喝水？"]
    wanted = "".join(f"{text}\n" for text in expected(tiny, sentences))
    result = run("translate", "--model", tiny, *sentences)
    assert (result.status, result.out, result.err) == (0, wanted, "")
    assert run("translate", "--model", tiny, stdin="\n".join(sentences).encode()).out == wanted
    assert run("translate", "--model", tiny, stdin="\r\n".join(sentences).encode() + b"\r\n").out == wanted
    one = run("translate", "--model", tiny, "--beam", 1, sentences[1]).out
    assert one == expected(tiny, sentences[1:2], beam=1)[0] + "\n"


def test_empty_lines_stay_empty_and_in_their_place(run, tiny: Path) -> None:
    first, second = expected(tiny, ["我喝茶。", "他读信。"])
    text = "\n我喝茶。\n\n \t\u200b\n他读信。\n\n"
    assert run("translate", "--model", tiny, stdin=text.encode()).out == f"\n{first}\n\n\n{second}\n\n"


def test_more_lines_than_fit_at_once_keep_their_order(run, tiny: Path) -> None:
    sentences = [row.split("\t")[0] for row in ROWS][: 2 * cli.AT_ONCE + 3]
    assert len(sentences) == 2 * cli.AT_ONCE + 3
    result = run("translate", "--model", tiny, "--beam", 2, stdin="\n".join(sentences).encode())
    assert result.out.splitlines() == expected(tiny, sentences, beam=2)


def test_typed_chinese_is_normalised_as_the_corpus_was(run, tiny: Path) -> None:
    typed, plain = "\ufeff她天天 讀書.", "她天天读书。"
    assert normalize_chinese(typed) == plain
    assert run("translate", "--model", tiny, typed).out == run("translate", "--model", tiny, plain).out


def test_n_best_is_a_table(run, tiny: Path) -> None:
    result = run("translate", "--model", tiny, "--n-best", 3, "我喝茶。", "", "他读信。")
    rows = [line.split("\t") for line in result.out.splitlines()]
    assert [(row[0], row[1]) for row in rows] == [
        ("1", "1"), ("1", "2"), ("1", "3"), ("2", "1"), ("3", "1"), ("3", "2"), ("3", "3")
    ]  # fmt: skip
    assert rows[3] == ["2", "1", "0.0000", ""]
    scores = [float(row[2]) for row in rows]
    assert scores[0] >= scores[1] >= scores[2]
    assert len({row[3] for row in rows[:3]}) == 3
    assert rows[0][3] == expected(tiny, ["我喝茶。"])[0]


def test_sampling_follows_its_seed(run, tiny: Path) -> None:
    draw = ["translate", "--model", tiny, "--sample", "--n-best", 4, "--top-k", 30, "我喝茶。"]
    one, again = run(*draw, "--seed", 1).out, run(*draw, "--seed", 1).out
    assert one == again != run(*draw, "--seed", 2).out
    alone = [run("translate", "--model", tiny, "--sample", "--seed", 1, text).out for text in ("我喝茶。", "他读书！")]
    together = run("translate", "--model", tiny, "--sample", "--seed", 1, "他读书！", "我喝茶。", "他读书！").out
    assert together == alone[1] + alone[0] + alone[1], "seed and text decide, not what stands around"
    surest = run(*draw, "--temperature", 0.0001).out.splitlines()
    greedy = run("translate", "--model", tiny, "--beam", 1, "我喝茶。").out.strip("\n")
    assert {row.split("\t")[3] for row in surest} == {greedy}


def test_a_line_too_long_for_the_model_is_cut_at_its_punctuation(run, tiny: Path) -> None:
    sentences = ["我天天喝茶。", "她也天天读书！”", "谁不读报？"]
    line = "".join(sentences)
    result = run("translate", "--model", tiny, "好。", line * 2, "好。")
    texts = result.out.splitlines()
    assert result.status == 0
    assert len(texts) == 3
    assert texts[1] == " ".join(expected(tiny, [normalize_chinese(s) for s in sentences * 2]))
    assert "line 2 is longer than the 22 tokens" in result.err
    assert "translated in 6 parts" in result.err
    table = run("translate", "--model", tiny, "--n-best", 2, line * 2).out.splitlines()
    assert [row.split("\t")[:2] for row in table] == [["1", "1"], ["1", "2"]]


def test_a_line_without_chinese_is_translated_but_said_to_be_none(run, tiny: Path) -> None:
    result = run("translate", "--model", tiny, "我喝茶。", "tea? 42!", "", "茶x")
    assert result.status == 0
    assert len(result.out.splitlines()) == 4
    assert result.err == "attention-decoded: line 2 has no Chinese in it: what it becomes means little\n"


def test_a_line_without_any_pause_is_cut_all_the_same(tiny: Path) -> None:
    machine = cli.Translator(str(tiny))
    for text in ("茶" * 101, "茶，" * 57, "。" * 99, "x" * 301):
        parts = machine.parts(text)
        assert "".join(parts) == text
        assert all(0 < len(machine.ids(part)) - 1 <= machine.longest for part in parts)
    assert machine.parts("我喝茶。") == ["我喝茶。"]


def test_an_absurd_line_is_left_empty_and_said_so(run, tiny: Path) -> None:
    text = "我喝茶。\n" + "茶" * (cli.LONGEST_LINE + 1) + "\n他读信。\n"
    result = run("translate", "--model", tiny, stdin=text.encode())
    first, last = expected(tiny, ["我喝茶。", "他读信。"])
    assert (result.status, result.out) == (1, f"{first}\n\n{last}\n")
    assert "line 2 has 10,001 characters, more than 10,000: left empty" in result.err


def test_a_line_without_end_is_never_held() -> None:
    class Endless(io.RawIOBase):
        """100 MB of one line, then two short lines; made as they are read."""

        left = 100 << 20

        def readable(self) -> bool:
            return True

        def readinto(self, buffer) -> int:
            if self.left > 0:
                n = min(len(buffer), self.left)
                buffer[:n] = b"x" * n
            else:
                text = b"\nshort\n" if self.left == 0 else b""
                n = len(text)
                buffer[:n] = text
                self.left -= 1
            self.left -= n if self.left > 0 else 0
            return n

    before = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    lines = [line for group in cli.read_lines(io.BufferedReader(Endless())) for line in group]
    assert [(line.number, line.text) for line in lines] == [(1, ""), (2, "short")]
    assert "more than 10,000" in lines[0].complaint
    assert resource.getrusage(resource.RUSAGE_SELF).ru_maxrss - before < 50_000  # kB


@pytest.mark.parametrize("size", [1, 2, 3, 7, 1000])
def test_lines_are_the_same_however_they_arrive(size: int) -> None:
    text = "你好\n\nçà\u2028va\r\n" + "y" * 50 + "\nend"

    class Dribble(io.BytesIO):
        def read1(self, n: int = -1) -> bytes:
            return super().read1(min(n, size))

    lines = [line for group in cli.read_lines(Dribble(text.encode())) for line in group]
    assert [line.text for line in lines] == ["你好", "", "çà\u2028va", "y" * 50, "end"]
    assert [line.number for line in lines] == [1, 2, 3, 4, 5]


# ── errors, each on one line ────────────────────────────────────────────────────────────────────


def test_text_that_is_not_utf8_stops_after_what_came_before(run, tiny: Path) -> None:
    result = run("translate", "--model", tiny, stdin="我喝茶。\n他读".encode() + b"\xff\xfe\n" + "好。\n".encode())
    assert result.out == expected(tiny, ["我喝茶。"])[0] + "\n"
    assert "stdin, line 2: byte 7 (0xff) is not UTF-8" in result.error
    assert "argument 1 is not UTF-8" in run("translate", "--model", tiny, "\udcff").error


def test_empty_input(run, tiny: Path, typist: Path) -> None:
    assert "the input is empty" in run("translate", "--model", tiny).error
    assert "the input is empty" in run("complete", "--model", typist).error


def test_unknown_wrong_and_damaged_checkpoints(run, tiny: Path, typist: Path, tmp_path: Path) -> None:
    for name in ("translate", "complete"):
        assert "nowhere: neither a folder nor a checkpoint" in run(name, "--model", "nowhere", "好").error
    assert "is no translator. Its card says: A decoder-only" in run("translate", "--model", typist, "好").error
    assert "is no completer. Its card says: A translator" in run("complete", "--model", tiny, "So").error
    run("export", tiny, tmp_path / "copy")
    weights = tmp_path / "copy" / "model.safetensors"
    weights.write_bytes(weights.read_bytes()[:-1])
    assert "cut short" in run("translate", "--model", tmp_path / "copy", "好").error


def test_a_traceback_only_when_asked_for(run) -> None:
    with pytest.raises(Exception, match="neither a folder"):
        run("--traceback", "translate", "--model", "nowhere", "好")


def test_an_attention_page_that_cannot_be_written_is_refused_before_the_work(run, tiny: Path, tmp_path: Path) -> None:
    assert "is a folder" in run("translate", "--model", tiny, "--attention", tmp_path, "好").error
    (tmp_path / "file").write_text("here")
    result = run("translate", "--model", tiny, "--attention", tmp_path / "file" / "x.html", "好")
    assert "cannot be written" in result.error
    assert result.out == ""


# ── pipes, as a shell has them ──────────────────────────────────────────────────────────────────


def test_an_answer_comes_before_the_next_line_is_asked(tiny: Path) -> None:
    with subprocess.Popen(
        command("translate", "--model", tiny), stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
        # Programs that run in the background inherit a deaf ear for Ctrl-C; at a terminal nobody has it.
        preexec_fn=lambda: signal.signal(signal.SIGINT, signal.SIG_DFL),
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        for sentence, wanted in zip(["我喝茶。", "他读信。"], expected(tiny, ["我喝茶。", "他读信。"]), strict=True):
            process.stdin.write(f"{sentence}\n".encode())
            process.stdin.flush()
            assert process.stdout.readline().decode() == wanted + "\n"  # else this waits for ever
        process.send_signal(signal.SIGINT)
        out, err = process.communicate(timeout=30)
    assert (process.returncode, out) == (130, b"")
    assert err == b"attention-decoded: stopped by Ctrl-C\n"


def test_head_closes_the_pipe_and_nothing_complains(tiny: Path, tmp_path: Path) -> None:
    page = tmp_path / "maps.html"
    with subprocess.Popen(
        command("translate", "--model", tiny, "--attention", page),
        stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.PIPE,
    ) as process:  # fmt: skip
        assert process.stdin
        assert process.stdout
        process.stdin.write("我喝茶。\n".encode() * 3)
        process.stdin.flush()
        assert process.stdout.readline()
        process.stdout.close()
        with contextlib.suppress(BrokenPipeError):
            for _ in range(1000):
                process.stdin.write("他读信。\n".encode() * 20)
                process.stdin.flush()
        with contextlib.suppress(BrokenPipeError):
            process.stdin.close()
        assert process.stderr
        assert process.stderr.read() == b""
        assert process.wait(timeout=30) == 0
    assert "<h2" in page.read_text("utf-8")  # what was translated until then


# ── the page of attention maps ──────────────────────────────────────────────────────────────────


class Page(HTMLParser):
    """The tables of a page as a browser reads them, and everything that could act."""

    def __init__(self, text: str):
        super().__init__(convert_charrefs=True)
        self.tables: list[dict] = []
        self.tags: dict[str, int] = {}
        self.attributes: set[str] = set()
        self.sources = ""
        self.stack: list[str] = []
        self.feed(text)
        self.close()

    def handle_starttag(self, tag: str, attrs: list) -> None:
        self.tags[tag] = self.tags.get(tag, 0) + 1
        self.attributes |= {name for name, _ in attrs}
        if tag not in ("meta", "link", "img", "br"):
            self.stack.append(tag)
        given = dict(attrs)
        if tag == "span":
            self.in_source = given.get("lang") == "zh-Hans"
        if tag == "table":
            self.tables.append({"caption": "", "columns": [], "rows": [], "cells": []})
        elif tag == "th":
            self.tables[-1]["columns" if given["scope"] == "col" else "rows"].append("")
        elif tag == "td" and "tbody" in self.stack:
            self.tables[-1]["cells"].append((given["title"], given["style"]))

    def handle_endtag(self, tag: str) -> None:
        assert self.stack.pop() == tag  # nothing that came in closes an element of the page

    def handle_data(self, data: str) -> None:
        if not self.stack:
            return
        if self.stack[-1] == "span" and self.in_source:
            self.sources += data
        if "table" in self.stack:
            table = self.tables[-1]
            if self.stack[-1] == "caption":
                table["caption"] += data
            elif self.stack[-1] == "th":
                table["columns" if "thead" in self.stack else "rows"][-1] += data


def test_the_attention_page_holds_every_map(run, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "new" / "maps.html"
    sentences = ["她天天读书。", "我喝茶。"]
    result = run("translate", "--model", tiny, "--attention", path, *sentences)
    assert (result.status, result.err) == (0, "")
    page = Page(path.read_text("utf-8"))
    assert len(page.tables) == 2 * (1 + 2 * (1 + 2))  # the mean of all; for each layer its mean and 2 heads
    machine = cli.Translator(str(tiny))
    found = machine.search(sentences, lambda m, x: beam_search(m, x, beam=5, alpha=0.8))[0][0]
    layers = machine.cross_attention(sentences[0], found.ids)
    keys = [*tokens(machine.source, sentences[0]), "end"]
    wanted = {"Mean of all 4 maps": np.mean(np.concatenate(layers), 0)}
    for i, layer in enumerate(layers, start=1):
        wanted[f"Layer {i}, mean of the heads"] = layer.mean(0)
        wanted |= {f"Layer {i}, head {j}": head for j, head in enumerate(layer, start=1)}
    tables = page.tables[: len(wanted)]
    assert [table["caption"] for table in tables] == list(wanted)
    for table, weights in zip(tables, wanted.values(), strict=True):
        assert table["columns"] == keys
        assert len(table["rows"]) == len(found.ids)
        shown = np.array([float(title.rsplit(": ", 1)[1]) for title, _ in table["cells"]]).reshape(weights.shape)
        assert np.allclose(shown, weights, atol=6e-4)
        assert np.allclose(shown.sum(1), 1, atol=1e-3 * len(keys))
        assert table["cells"][1][0].startswith(f"{table['rows'][0]} looks at {keys[1]}: ")
        assert [style for _, style in table["cells"]] == [f"--a:{x:.3f}" for x in shown.flatten()]


def test_the_attention_page_shows_who_looks_at_whom(tiny: Path) -> None:
    """Row = query, column = key: change what is written last, and only the last rows change; rows sum to 1."""
    machine = cli.Translator(str(tiny))
    one = machine.cross_attention("她天天读书。", [7, 8, 9, EOS])
    other = machine.cross_attention("她天天读书。", [7, 8, 11, EOS])
    for a, b in zip(one, other, strict=True):
        assert a.shape == (2, 4, len(machine.ids("她天天读书。")))
        assert np.allclose(a.sum(-1), 1, atol=1e-5)
        assert np.array_equal(a[:, :3], b[:, :3])  # a row looks before its own word is fed
        assert not np.allclose(a[:, 3], b[:, 3])


def test_the_attention_page_needs_nothing_and_can_do_nothing(run, tiny: Path, tmp_path: Path) -> None:
    path = tmp_path / "maps.html"
    run("translate", "--model", tiny, "--attention", path, HOSTILE, "我喝茶。")
    text = path.read_text("utf-8")
    page = Page(text)
    assert not {"script", "img", "b", "link", "iframe", "a", "svg"} & set(page.tags)
    assert not [name for name in page.attributes if name.startswith("on") or name in ("src", "href")]
    assert page.tags["html"] == page.tags["body"] == page.tags["main"] == 1
    assert "default-src 'none'" in text
    assert "http:" not in text
    assert "https:" not in text
    assert "url(" not in text
    assert "prefers-color-scheme:dark" in text
    assert page.stack == []
    assert page.sources == normalize_chinese(HOSTILE) + "我喝茶。"  # it is there, as text, if in several parts


def test_names_and_notes_on_the_page_are_text_too(tmp_path: Path) -> None:
    from attention_decoded.plots.attention_page import page, sentence

    weights = np.full((1, 1, 2), 0.5)
    section = sentence(1, HOSTILE, HOSTILE, [HOSTILE], [HOSTILE, '" onmouseover="x'], [weights])
    text = page([section], model=HOSTILE, note=HOSTILE)
    parsed = Page(text)
    assert not {"script", "img", "b"} & set(parsed.tags)
    assert not [name for name in parsed.attributes if name.startswith("on")]
    assert parsed.tables[0]["columns"] == [HOSTILE, '" onmouseover="x']
    assert parsed.tables[0]["cells"][0][0] == f"{HOSTILE} looks at {HOSTILE}: 0.500"
    assert text.count(html.escape(HOSTILE, quote=True)) >= 7


def test_maps_that_do_not_fit_their_labels_are_refused() -> None:
    from attention_decoded.plots.attention_page import sentence

    with pytest.raises(ValueError, match="2 queries and 3 keys"):
        sentence(1, "", "", ["a", "b"], ["x", "y", "z"], [np.ones((2, 3, 2))])
    with pytest.raises(ValueError, match="no attention"):
        sentence(1, "", "", [], [], [])


def test_a_page_has_room_for_so_many_sentences(run, tiny: Path, tmp_path: Path, monkeypatch) -> None:
    monkeypatch.setattr(cli, "MAX_MAPS", 2)
    result = run("translate", "--model", tiny, "--attention", tmp_path / "m.html", *["我喝茶。"] * 5)
    assert len(result.out.splitlines()) == 5
    assert "Only the first 2 of 5 sentences are shown" in result.err
    text = (tmp_path / "m.html").read_text("utf-8")
    assert text.count("<section") == 2
    assert "Only the first 2 of 5 sentences are shown" in text


@pytest.mark.parametrize("attention", [True, False])
def test_an_rnn_translates_and_shows_the_attention_it_has(run, corpus, tmp_path: Path, attention: bool) -> None:
    folder, page = make_translator(tmp_path / "rnn", corpus, rnn=attention), tmp_path / "maps.html"
    assert run("translate", "--model", folder, "我喝茶。").status == 0
    result = run("translate", "--model", folder, "--attention", page, "我喝茶。")
    if not attention:
        assert "has no attention to show" in result.error
        return
    tables = Page(page.read_text("utf-8")).tables
    assert [table["caption"] for table in tables] == ["The one map there is"]
    shown = np.array([float(title.rsplit(": ", 1)[1]) for title, _ in tables[0]["cells"]])
    assert np.allclose(shown.reshape(len(tables[0]["rows"]), -1).sum(1), 1, atol=5e-3)


def test_rows_are_named_for_people() -> None:
    names = [cli.row_label(t, first=not k) for k, t in enumerate(["un", "▁be", "liev", "'s", ",", "▁", "7", ""])]
    assert names == ["un", "be", "+liev", "'s", ",", "space", "7", "end"]


# ── complete ────────────────────────────────────────────────────────────────────────────────────


def test_completions_begin_as_typed(run, typist: Path) -> None:
    beginnings = ["she dr", "who never ", "", "  he   “reads", "x"]
    result = run("complete", "--model", typist, stdin="\n".join(beginnings).encode())
    texts = result.out.splitlines()
    assert (result.status, result.err) == (0, "")
    assert len(texts) == 5
    for text, start in zip(texts, ["she dr", "who never ", "", 'he "reads', "x"], strict=True):
        assert text.startswith(start)
    assert texts[2] == ""
    assert len(texts[1]) > len("who never ")
    assert run("complete", "--model", typist, *beginnings).out == result.out


def test_completions_can_be_many_or_drawn(run, typist: Path) -> None:
    rows = run("complete", "--model", typist, "--n-best", 3, "she ").out.splitlines()
    assert [row.split("\t")[1] for row in rows] == ["1", "2", "3"]
    assert len({row.split("\t")[3] for row in rows}) == 3
    draw = ["complete", "--model", typist, "--sample", "she "]
    assert run(*draw).out == run(*draw, "--seed", 0).out
    assert len({run(*draw, "--seed", n).out for n in range(9)}) > 1


def test_a_long_beginning_is_read_from_its_end(run, typist: Path) -> None:
    beginning = "he drinks tea. " * 40 + "she re"
    result = run("complete", "--model", typist, beginning)
    assert result.out.startswith(beginning)
    assert "line 1 is long" in result.err
    assert "its last 10 tokens" in result.err


# ── train, score, export ────────────────────────────────────────────────────────────────────────


def test_train_runs_the_recipe(run, corpus: Path, tmp_path: Path) -> None:
    result = run("train", "completer", "completer", "--minutes", 0.0001, "--pairs", corpus, "--out", tmp_path / "out",
                 "--work", tmp_path / "work")  # fmt: skip
    assert (result.status, result.err) == (0, "")
    training = load_checkpoint(tmp_path / "out" / "completer").card["training"]
    assert training["steps"] == 1
    assert not training["finished"]
    assert "--evaluate" not in run("train", "completer", "--help").out
    assert "Train the masked language model" in run("train", "masked_lm", "--help").out
    assert run("train", "completer", "--epochs", "x").status == 2
    missing = run("train", "completer", "--pairs", tmp_path / "none.tsv", "--out", tmp_path / "o",
                  "--work", tmp_path / "w")  # fmt: skip
    assert "none.tsv: no such file" in missing.error


def test_train_names_every_recipe(run, root: Path) -> None:
    names = {path.stem.replace("_", "-") for path in (root / "src/attention_decoded/recipes").glob("[!_]*.py")}
    assert {"translator", "completer", "masked-lm"} <= names
    assert all(name in run("train", "--help").out for name in names)


@pytest.mark.parametrize("kind", ["translator", "completer"])
def test_score_measures_again_and_says_whether_the_card_holds(run, kind: str, request, corpus: Path) -> None:
    names = {"translator": ["beam_2 bleu", "beam_2 all_references chrf"], "completer": ["perplexity", "next_word"]}
    folder = request.getfixturevalue({"translator": "tiny", "completer": "typist"}[kind])
    result = run("score", folder, "--pairs", corpus)
    assert (result.status, result.err) == (0, "")
    for name in names[kind]:
        line = next(line for line in result.out.splitlines() if line.strip().startswith(name))
        assert line.endswith(": equal")
        assert "[" in line
    assert "bs:1000|seed:12345" in result.out
    assert "These are the card's figures." in result.out


def test_score_notices_another_figure(run, typist: Path, corpus: Path, tmp_path: Path, monkeypatch) -> None:
    measured = load_checkpoint(typist).card["results"]["test"]
    monkeypatch.setattr(completer, "score", lambda folder, pairs: measured)
    run("export", typist, tmp_path / "copy")
    path = tmp_path / "copy" / "card.json"
    card = json.loads(path.read_text("utf-8"))

    def score_with(**perplexity: float) -> Result:
        card["results"]["test"]["perplexity"] |= perplexity
        path.write_text(json.dumps(card), encoding="utf-8")
        return run("score", tmp_path / "copy", "--pairs", corpus)

    value, low = measured["perplexity"]["value"], measured["perplexity"]["low"]
    assert "card's figures" in score_with(value=value * 1.0005).out
    near = score_with(value=(value + low) / 2)
    assert near.status == 0
    assert "within the interval" in near.out
    far = score_with(value=low / 2)
    assert far.status == 1
    assert "Not the card's: perplexity." in far.out
    del card["results"]["test"]
    card["results"]["test"] = {"perplexity": {}}
    assert "its training was not finished" in score_with().out


def test_a_recipe_stands_for_all_its_checkpoints(run, typist: Path, tmp_path: Path, monkeypatch) -> None:
    from attention_decoded import checkpoints

    measured = load_checkpoint(typist).card["results"]["test"]
    monkeypatch.setattr(completer, "score", lambda folder, pairs: measured)
    monkeypatch.setattr("attention_decoded.recipes._remeasure._check_data", lambda card, pairs: None)
    monkeypatch.setattr(checkpoints, "SHIPPED", tmp_path)
    assert "the recipe completer ships no model that could be measured" in run("score", "completer").error
    for name in ("completer", "other"):
        run("export", typist, tmp_path / name)
    titles = [line for line in run("score", "completer").out.splitlines() if not line.startswith(" ")]
    assert [title.partition(":")[0] for title in titles] == ["completer", "other"]
    assert run("score", "other").out.startswith("other: ")


def test_score_refuses_the_wrong_data_and_the_unknown(run, typist: Path, tmp_path: Path) -> None:
    assert "the book's own pairs are not that" in run("score", typist).error
    assert "no such file" in run("score", typist, "--pairs", tmp_path / "none").error
    other = tmp_path / "other.tsv"
    other.write_text("茶。\ttea.")
    assert "other.tsv is not that" in run("score", typist, "--pairs", other).error
    assert "nowhere: neither a folder nor a checkpoint" in run("score", "nowhere").error


def test_export_to_a_folder_and_to_a_zip(run, tiny: Path, tmp_path: Path) -> None:
    assert run("export", tiny, tmp_path / "a" / "copy").status == 0
    again = load_checkpoint(tmp_path / "a" / "copy")
    assert again.card == load_checkpoint(tiny).card
    for name in ("x.zip", "y.zip"):
        assert "4 files" in run("export", tiny, tmp_path / name).out
        time.sleep(0.01)
    assert (tmp_path / "x.zip").read_bytes() == (tmp_path / "y.zip").read_bytes()
    with zipfile.ZipFile(tmp_path / "x.zip") as archive:
        assert archive.testzip() is None
        assert {name.split("/")[0] for name in archive.namelist()} == {"tiny"}
        assert archive.getinfo("tiny/model.safetensors").compress_type == zipfile.ZIP_STORED
        archive.extractall(tmp_path / "unpacked")
    assert run("translate", "--model", tmp_path / "unpacked" / "tiny", "我喝茶。").status == 0


def test_export_overwrites_only_when_told(run, tiny: Path, tmp_path: Path) -> None:
    (tmp_path / "taken").mkdir()
    (tmp_path / "taken" / "letter.txt").write_text("dear")
    (tmp_path / "taken.zip").write_text("dear")
    for out in ("taken", "taken.zip"):
        assert "exists and is not empty" in run("export", tiny, tmp_path / out).error
        assert run("export", tiny, tmp_path / out, "--force").status == 0
    assert (tmp_path / "taken" / "letter.txt").read_text() == "dear"
    (tmp_path / "file").write_text("dear")
    assert "is a file" in run("export", tiny, tmp_path / "file", "--force").error
    assert run("export", "nowhere", tmp_path / "x").status == 1


def test_export_follows_no_card_out_of_its_folder(run, tmp_path: Path) -> None:
    (tmp_path / "secret.txt").write_text("secret")
    save_checkpoint(tmp_path / "bad", {"x": torch.ones(2)}, {}, {}, {})
    path = tmp_path / "bad" / "card.json"
    card = json.loads(path.read_text("utf-8"))
    card["sha256"]["../secret.txt"] = sha256_of(tmp_path / "secret.txt")
    path.write_text(json.dumps(card), encoding="utf-8")
    assert "outside the folder" in run("export", tmp_path / "bad", tmp_path / "out").error


# ── what is shipped ─────────────────────────────────────────────────────────────────────────────


@pytest.mark.skipif(not (SHIPPED / "translator").is_dir(), reason="the translator is not trained yet")
def test_the_shipped_translator_translates(run, tmp_path: Path) -> None:
    page = tmp_path / "maps.html"
    result = run("translate", "--attention", page, "我喜欢喝茶。", "你叫什么名字？")
    assert (result.status, result.err) == (0, "")
    tea, name = result.out.splitlines()
    assert "tea" in tea.lower()
    assert "name" in name.lower()
    assert len(Page(page.read_text("utf-8")).tables) >= 2 * 7


def test_the_module_runs_as_a_script() -> None:
    result = subprocess.run(command("--version"), capture_output=True, text=True, env={**os.environ, "LC_ALL": "C"})
    assert result.returncode == 0
    assert result.stdout.startswith("attention-decoded ")
