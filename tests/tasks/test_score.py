"""The task as a user runs it."""

import io
import json
import math
import os
import threading
import types
from pathlib import Path

import pytest

from awd_jax.errors import InputError
from awd_jax.tasks import lines
from awd_jax.tasks.score import score
from configs import addition, ntm_copy
from tests.tasks.saved_model import TOKENS, make_config, save_model

TEXT = "\ufeffa b\r\n\nc zebra d\nh"


@pytest.fixture
def run(workdir, tmp_path, capsys):
    def run_it(text=TEXT, workdir=workdir, **options):
        config = make_config()
        path = tmp_path / "text.txt"
        path.write_bytes(text if isinstance(text, bytes) else text.encode())
        config.score.input = str(path)
        config.score.update(options)
        score(config, workdir)
        return capsys.readouterr()

    return run_it


@pytest.mark.parametrize("carry", [False, True])
def test_a_table_and_json_lines_say_the_same(run, carry):
    header, *rows = run(carry=carry, per_token=True).out.splitlines()
    objects = [
        json.loads(line)
        for line in run(carry=carry, per_token=True, format="jsonl").out.splitlines()
    ]
    names = header.split("\t")
    assert len(rows) == len(objects) == 4
    for row, line in zip(rows, objects, strict=True):
        assert names == list(line)
        number, num_tokens, num_unk, log_prob, perplexity, tokens, log_probs = row.split("\t")
        assert [int(number), int(num_tokens), int(num_unk)] == [line[n] for n in names[:3]]
        assert float(log_prob) == pytest.approx(line["log_prob"], abs=1e-6)
        assert float(perplexity) == pytest.approx(line["perplexity"], abs=1e-6)
        assert tokens.split(" ") == line["tokens"]
        found = [float(p) for p in log_probs.split(" ")]
        assert found == pytest.approx(line["log_probs"], abs=1e-6)
        assert sum(line["log_probs"]) == pytest.approx(line["log_prob"])
        assert line["perplexity"] == pytest.approx(math.exp(-line["log_prob"] / line["num_tokens"]))
    assert [line["tokens"] for line in objects] == [
        ["a", "b", "<eos>"],
        ["<eos>"],
        ["c", "zebra", "d", "<eos>"],
        ["h", "<eos>"],
    ]
    assert [line["num_unk"] for line in objects] == [0, 0, 1, 0]


def test_with_carry_a_line_that_comes_again_is_scored_otherwise(run):
    def columns(carry):
        rows = run("a b\na b\na b\n", carry=carry).out.splitlines()[1:]
        return [float(row.split("\t")[3]) for row in rows]

    apart, in_order = columns(carry=False), columns(carry=True)
    # Equal lines in other places of a batch: equal up to the rounding of float32.
    assert apart == pytest.approx([in_order[0]] * 3, rel=1e-5)
    assert len({round(log_prob, 4) for log_prob in in_order}) == 3


def test_standard_output_has_results_only_and_the_summary_is_their_sum(run, workdir):
    said = run(format="jsonl")
    lines = [json.loads(line) for line in said.out.splitlines()]
    assert "outside the vocabulary, read as <unk>: 1" in said.err
    result = json.loads((workdir / "score.json").read_text())
    assert (result["num_lines"], result["num_tokens"], result["num_unk"]) == (4, 10, 1)
    assert result["log_prob"] == pytest.approx(sum(line["log_prob"] for line in lines))
    assert result["nll"] == pytest.approx(-result["log_prob"] / 10)
    assert result["perplexity"] == pytest.approx(math.exp(result["nll"]))
    assert result["step"] == 7


def test_standard_input_and_a_file_of_results(run, workdir, tmp_path, monkeypatch, capsys):
    expected = run().out
    config = make_config()
    stdin = types.SimpleNamespace(buffer=io.BytesIO(TEXT.encode()))
    monkeypatch.setattr("sys.stdin", stdin)
    config.score.output = str(tmp_path / "scores.tsv")
    score(config, workdir)
    assert capsys.readouterr().out == ""
    assert (tmp_path / "scores.tsv").read_text() == expected


@pytest.mark.parametrize(
    ("text", "told"),
    [(b"", "is empty"), (b"a\nb \xff\n", "line 2: byte 0xff is not UTF-8")],
)
@pytest.mark.parametrize("source", ["file", "standard input"])
def test_a_bad_input_is_named_before_anything_is_written(
    workdir, tmp_path, monkeypatch, capsys, text, told, source
):
    config = make_config()
    if source == "file":
        (tmp_path / "text.txt").write_bytes(text)
        config.score.input = str(tmp_path / "text.txt")
    else:
        stdin = types.SimpleNamespace(buffer=io.BytesIO(text))
        monkeypatch.setattr("sys.stdin", stdin)
    monkeypatch.setattr(lines, "BLOCK", 1)  # the first line could be written before the second
    with pytest.raises(InputError, match=told) as error:
        score(config, workdir)
    assert source in str(error.value) or config.score.input in str(error.value)
    assert capsys.readouterr().out == ""


@pytest.mark.parametrize("content", [TEXT.encode(), b""])
def test_a_pipe_is_copied_first(run, workdir, tmp_path, content):
    """As the shell's <(command) gives one: it can be read but once."""
    fifo = tmp_path / "fifo"
    os.mkfifo(fifo)
    writer = threading.Thread(target=fifo.write_bytes, args=[content], daemon=True)
    writer.start()
    if content:
        assert run(input=str(fifo)).out == run().out
    else:
        with pytest.raises(InputError, match="fifo: is empty"):
            run(input=str(fifo))
    writer.join()


def test_standard_input_that_cannot_be_read_is_named(run, monkeypatch):
    with Path(os.devnull).open("wb") as only_to_be_written:  # its error has no word of the system
        monkeypatch.setattr("sys.stdin", types.SimpleNamespace(buffer=only_to_be_written))
        with pytest.raises(InputError, match=r"standard input: .*\(read\)"):
            run(input="-")


def test_a_missing_file_is_named(workdir):
    config = make_config()
    config.score.input = "/none/text.txt"
    with pytest.raises(InputError, match=r"/none/text.txt: cannot be read"):
        score(config, workdir)


@pytest.mark.parametrize("recipe", [addition, ntm_copy])
def test_a_config_of_another_kind_of_model_is_refused(recipe, workdir):
    with pytest.raises(InputError, match="holds another run"):
        score(recipe.get_config("smoke"), workdir)


def test_a_token_outside_a_vocabulary_without_unk_stops_before_anything_is_written(
    run, tmp_path, capsys
):
    save_model(make_config(), tmp_path / "run", tuple(t for t in TOKENS if t != "<unk>"))
    with pytest.raises(InputError, match="line 3: token 'zebra'"):
        run(workdir=tmp_path / "run")
    assert capsys.readouterr().out == ""
    assert not (tmp_path / "run" / "score.json").exists()
    assert len(run("a b\nc\n", workdir=tmp_path / "run").out.splitlines()) == 3
