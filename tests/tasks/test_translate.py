"""The task as a user runs it, with a translator whose every number a test can compute again."""

import io
import json
import os
import types
from pathlib import Path

import jax
import jax.numpy as jnp
import numpy as np
import pytest

from awd_jax.data.text import Text, string_text
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError, ReaderGoneError
from awd_jax.models.contract import Translator
from awd_jax.tasks import lines
from awd_jax.tasks.generate import generate
from awd_jax.tasks.model_file import load_best_model
from awd_jax.tasks.translate import read_sources, translate
from tests.tasks import saved_model
from tests.tasks.saved_translator import (
    SOURCE_TOKENS,
    make_config,
    save_translator,
    table,  # noqa: F401 (a fixture)
)

# Of two padded lengths; two are the same line.
TEXT = "a b c\nd\ne e a zebra b\na b c\nc d e a b c d e a b\nb\n"
NUM_LINES = 6


@pytest.fixture(scope="module")
def workdir(tmp_path_factory, table):  # noqa: F811
    path = tmp_path_factory.mktemp("run")
    save_translator(make_config(), path)
    return path


@pytest.fixture
def run(workdir, tmp_path, capsys):
    def run_it(text=TEXT, workdir=workdir, attention="dot", give_attention=False, **options):
        config = make_config(attention)
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        config.translate.input = str(path)
        config.translate.update(options)
        config.translate.attention = give_attention
        translate(config, workdir)
        return capsys.readouterr()

    return run_it


def objects(said):
    return [json.loads(line) for line in said.out.splitlines()]


@pytest.fixture(scope="module")
def score_of(workdir):
    """The log-probability of a translation without `<unk>`, and its score in the beam."""
    best = load_best_model(make_config(), workdir, Translator)

    @jax.jit
    def of_all(sources, inputs):
        carry = best.model.read(best.params, sources, jnp.ones(sources.shape))
        log_probs, carry = best.model.log_probs(best.params, inputs, carry)
        log_probs = jax.nn.log_softmax(log_probs.at[..., 1].set(-jnp.inf))
        return log_probs[:, 0], carry.attended[0]

    def compute(source, tokens):
        ids = best.source_vocabulary.lookup(source.split())
        targets = best.vocabulary.lookup(tokens)
        inputs = np.concatenate([[0], targets[:-1]]).astype(np.int32)
        log_probs, attended = of_all(np.where(ids < 0, 1, ids)[:, None], inputs[:, None])
        return np.asarray(log_probs)[np.arange(len(targets)), targets].sum(), attended

    def score_of(source, tokens, alpha=0.0, beta=0.0):
        log_prob, attended = compute(source, tokens)
        coverage = np.log(np.minimum(attended, 1)).sum()
        return log_prob / ((5 + len(tokens)) / 6) ** alpha + beta * coverage

    score_of.attended = lambda source, tokens: compute(source, tokens)[1]
    return score_of


def whole(row, most=6):
    """The tokens of a row, with its `<eos>`."""
    tokens = row["translation"].split()
    assert len(tokens) == row["num_tokens"] - (row["num_tokens"] < most or len(tokens) < most)
    return tokens + ["<eos>"] * (row["num_tokens"] - len(tokens))


def test_a_table_and_json_lines_say_the_same_in_the_order_of_the_input(run):
    header, *rows = run(num_best=2).out.splitlines()
    found = objects(run(num_best=2, format="jsonl"))
    assert header.split("\t") == ["line", "score", "num_tokens", "translation"]
    assert list(found[0]) == [*header.split("\t"), "source"]
    assert len(rows) == len(found) == 2 * NUM_LINES
    for row, line in zip(rows, found, strict=True):
        number, score, num_tokens, translation = row.split("\t")
        assert (int(number), int(num_tokens)) == (line["line"], line["num_tokens"])
        assert float(score) == pytest.approx(line["score"], abs=1e-6)
        assert translation == line["translation"]
    assert [line["line"] for line in found] == [n for n in range(1, NUM_LINES + 1) for _ in "12"]
    assert [line["source"] for line in found[::2]] == TEXT.splitlines()
    assert len({line["translation"] for line in found}) > 4


@pytest.mark.parametrize("method", ["greedy", "sample", "beam"])
def test_a_translation_does_not_depend_on_what_is_beside_it(run, monkeypatch, method):
    expected = objects(run(method=method, format="jsonl"))
    monkeypatch.setattr(lines, "BLOCK", 8)  # the first three lines, and then the others
    found = objects(run(method=method, format="jsonl", batch_size=2))
    for a, b in zip(found, expected, strict=True):
        assert a["score"] == pytest.approx(b["score"], rel=1e-5)
        assert a | {"score": 0} == b | {"score": 0}


@pytest.mark.parametrize(
    ("method", "alpha", "beta"),
    [("greedy", 0.0, 0.0), ("sample", 0.0, 0.0), ("beam", 0.0, 0.0), ("beam", 0.9, 0.4)],
)
def test_a_score_is_that_of_its_translation(run, score_of, method, alpha, beta):
    num_best = 3 if method == "beam" else 1
    options = {"num_best": num_best, "length_penalty": alpha, "coverage_penalty": beta}
    rows = objects(run(method=method, format="jsonl", **options))
    assert len(rows) == num_best * NUM_LINES
    for row in rows:
        expected = score_of(row["source"], whole(row), alpha, beta)
        assert row["score"] == pytest.approx(expected, rel=1e-4)
    for start in range(0, len(rows), num_best):
        scores = [row["score"] for row in rows[start : start + num_best]]
        assert scores == sorted(scores, reverse=True)


def test_greedy_is_one_beam_and_what_leaves_one_token_is_greedy(run):
    def texts(**options):
        return [row["translation"] for row in objects(run(format="jsonl", **options))]

    greedy = texts(method="greedy")
    assert texts(beam_size=1) == texts(method="sample", top_k=1) == greedy
    assert texts(method="sample") != greedy
    assert texts(method="sample", seed=1) != texts(method="sample")


def test_samples_do_not_know_the_batch_whatever_the_kind_of_key(run):
    with jax.default_prng_impl("rbg"):
        alone, together = (run(method="sample", batch_size=n).out for n in (1, 4))
    assert alone == together


def test_equal_sources_are_drawn_apart(run):
    said = run("a b\n" * 20, method="sample", format="jsonl")
    assert len({row["translation"] for row in objects(said)}) > 1


def test_unk_is_drawn_only_where_it_may_be(run):
    options = {"method": "sample", "temperature": 9.0}
    assert "<unk>" not in run(**options).out
    assert "<unk>" in run(**options, forbid_unk=False).out


def test_the_attention_is_that_of_each_token_to_each_of_the_source(run, workdir, score_of):
    rows = objects(run(format="jsonl", num_best=2, give_attention=True))
    for row in rows:
        attention = np.array(row["attention"])
        assert attention.shape == (row["num_tokens"], len(row["source"].split()))
        np.testing.assert_allclose(attention.sum(1), 1, atol=2e-3)
        score = score_of(row["source"], whole(row), 0.6)
        assert row["score"] == pytest.approx(score, rel=1e-4)
        attended = score_of.attended(row["source"], whole(row))
        np.testing.assert_allclose(attention.sum(0), attended, atol=2e-3)


def test_standard_output_has_rows_only_and_the_summary_is_their_sum(run, workdir):
    said = run()
    result = json.loads((workdir / "translate.json").read_text())
    rows = [row.split("\t") for row in said.out.splitlines()[1:]]
    assert "outside the vocabulary, read as <unk>: 1\n" in said.err
    assert f"{NUM_LINES} sources, {result['num_tokens']} tokens" in said.err
    assert (result["num_sources"], result["num_unk"], result["step"]) == (NUM_LINES, 1, 7)
    assert result["num_tokens"] == sum(int(row[2]) for row in rows)
    assert result["sources_per_second"] == pytest.approx(NUM_LINES / result["seconds"])


def test_standard_input_and_a_file_of_results(run, workdir, tmp_path, monkeypatch, capsys):
    expected = run().out
    config = make_config()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(TEXT.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    config.translate.output = str(tmp_path / "found.tsv")
    translate(config, workdir)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "found.tsv").read_text() == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [
        (b"", "is empty"),
        (b"a\nb \xff\n", "line 2: byte 0xff is not UTF-8"),
        (b"a b\n \nc\n", "line 2: is blank; give one source a line"),
        (b"a\nb <eos> c\n", "line 2: has <eos> in it"),
    ],
)
def test_a_bad_input_is_named_before_anything_is_written(run, workdir, capsys, text, told):
    (workdir / "translate.json").unlink(missing_ok=True)
    with pytest.raises(InputError, match=f"text.txt.* {told}|text.txt: {told}"):
        run(text)
    assert capsys.readouterr().out == ""
    assert not (workdir / "translate.json").exists()


def test_a_token_outside_a_vocabulary_without_unk_is_refused(run, tmp_path, capsys):
    save_translator(make_config(), tmp_path / "run", SOURCE_TOKENS[:1] + SOURCE_TOKENS[2:])
    with pytest.raises(InputError, match="line 3: token 'zebra'"):
        run(workdir=tmp_path / "run")
    assert capsys.readouterr().out == ""


def test_a_missing_file_is_named(run):
    with pytest.raises(InputError, match=r"/none/text.txt: cannot be read"):
        run(input="/none/text.txt")


@pytest.mark.parametrize(("method", "most"), [("beam", 5), ("greedy", 1), ("sample", 1)])
def test_more_translations_than_the_method_gives_are_refused(run, tmp_path, method, most):
    with pytest.raises(InputError, match=f"must be at most {most} with method {method}"):
        run(workdir=tmp_path, method=method, num_best=most + 1)


def test_attention_is_for_json_lines(tmp_path):
    config = make_config()
    config.translate.attention = True
    with pytest.raises(InputError, match=r"is for jsonl, and config.translate.format = tsv"):
        translate(config, tmp_path)


def test_a_model_without_attention_has_neither_coverage_nor_attention(run, tmp_path):
    save_translator(make_config("none"), tmp_path)
    assert len(run(workdir=tmp_path, attention="none").out.splitlines()) == 1 + NUM_LINES
    with pytest.raises(InputError, match=r"coverage_penalty = 0.1: needs a model with attention"):
        run(workdir=tmp_path, attention="none", coverage_penalty=0.1)


def test_a_reader_that_has_gone_ends_it_quietly(workdir, tmp_path, monkeypatch):
    config = make_config()
    (tmp_path / "text.txt").write_text(TEXT)
    config.translate.input = str(tmp_path / "text.txt")
    read, write = os.pipe()
    os.close(read)
    with Path(f"/dev/fd/{write}").open("w") as stdout, monkeypatch.context() as patch:
        os.close(write)
        patch.setattr("sys.stdout", stdout)
        with pytest.raises(ReaderGoneError):
            translate(config, workdir)


def test_sources_are_filled_up_as_in_training(tmp_path, table):  # noqa: F811
    config = make_config()
    config.data.source_length = 3
    save_translator(config, tmp_path, (*SOURCE_TOKENS, "<pad>"))
    best = load_best_model(config, tmp_path, Translator)
    sources = [line.tokens for line in read_sources(string_text("", "word", "a\na b c d\n"), best)]
    assert sources == [["a", "<pad>", "<pad>"], ["a", "b", "c", "d"]]


def test_bytes_of_a_source_end_as_in_training(workdir):
    best = load_best_model(make_config(), workdir, Translator)
    best = best._replace(source_vocabulary=Vocabulary(("<eos>", *map(str, b"ab"))))
    text = Text("", "byte", lambda: iter([b"\xef\xbb\xbfab\r\nb\r\n", b"a\r"]))
    assert [line.tokens for line in read_sources(text, best)] == [["97", "98"], ["98"], ["97"]]


def test_each_task_says_which_kind_of_model_it_needs(workdir, tmp_path):
    with pytest.raises(InputError, match=r"model.name = table: must be a language model"):
        generate(make_config(), workdir)
    config = saved_model.make_config()
    saved_model.save_model(config, tmp_path)
    with pytest.raises(InputError, match=r"model.name = recurrent: must be a translator"):
        translate(config, tmp_path)
