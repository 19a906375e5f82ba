"""The task as a user runs it, and the texts that it draws."""

import itertools
import json

import jax
import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.tasks.decoding import generate_sentences
from awd_jax.tasks.generate import generate
from awd_jax.tasks.model_file import load_best_model
from tests.tasks.saved_model import TOKENS, make_config, save_model


@pytest.fixture
def run(workdir, capsys):
    def run_it(workdir=workdir, **options):
        config = make_config()
        config.generate.num_tokens = 12
        config.generate.update(options)
        generate(config, workdir)
        said = capsys.readouterr()
        return said.out, said.err, json.loads((workdir / "generate.json").read_text())

    return run_it


@pytest.fixture(scope="module")
def log_prob(workdir):
    """Of tokens after a prompt, all in one forward pass."""
    best = load_best_model(make_config(), workdir)

    @jax.jit
    def all_log_probs(inputs):
        carry = best.model.initial_carry(1)
        return best.model.log_probs(best.params, inputs[:, None], carry)[0][:, 0]

    def log_prob(prompt, tokens):
        ids = best.vocabulary.encode([*prompt, *tokens])
        inputs = np.zeros(16, np.int32)  # one program
        inputs[: len(ids) - 1] = ids[:-1]
        found = np.asarray(all_log_probs(inputs))[np.arange(len(ids) - 1), ids[1:]]
        return found[len(prompt) - 1 :].sum()

    return log_prob


def test_the_text_is_the_prompt_and_so_many_tokens(run):
    out, _, result = run(prompt="a b")
    assert out == result["texts"][0] + "\n"
    assert out.startswith("a b ")
    tokens = out[:-1].replace("\n", " <eos> ").split()
    assert len(tokens) == 2 + 12
    assert result["tokens_per_second"] > 0
    assert result["step"] == 7


def test_a_seed_gives_the_same_text_and_another_one_another(run):
    assert run()[0] == run()[0] != run(seed=1)[0]
    assert run(num_tokens=20)[0].startswith(run()[0].rstrip("\n"))


def test_several_texts_are_drawn_side_by_side_and_the_first_is_the_same(run):
    out, _, result = run(num_samples=3)
    assert out == "\n---\n".join(result["texts"]) + "\n"
    assert len(set(result["texts"])) == 3
    assert result["texts"][0] == run()[2]["texts"][0]


@pytest.mark.parametrize("prompt", ["", "a", "c d e f g h"])
def test_greedy_takes_the_most_probable_token_each_time(run, log_prob, prompt):
    tokens = run(method="greedy", num_tokens=3, prompt=prompt)[0][:-1]
    tokens = tokens.replace("\n", " <eos> ").split()
    context = ["<eos>", *prompt.split()]
    for token in tokens[len(context) - 1 :]:
        assert token == max(TOKENS, key=lambda t: log_prob(context, [t]))
        context.append(token)


@pytest.mark.parametrize("option", [{"top_k": 1}, {"top_p": 1e-6}, {"temperature": 1e-6}])
def test_what_leaves_one_token_is_greedy(run, option):
    assert run(**option)[0] == run(method="greedy")[0] != run()[0]


def test_beam_search_finds_the_most_probable_texts(run, log_prob):
    _, _, result = run(method="beam", beam_size=len(TOKENS), num_samples=3, num_tokens=2)
    all_texts = sorted(itertools.product(TOKENS, repeat=2), key=lambda t: -log_prob(["<eos>"], t))
    for text, found, expected in zip(result["texts"], result["log_probs"], all_texts, strict=False):
        assert text.replace("\n", " <eos> ").split() == list(expected)
        assert found == pytest.approx(log_prob(["<eos>"], expected), rel=1e-5)


@pytest.mark.parametrize(("forbid_unk", "num_texts"), [(False, 10), (True, 9)])
def test_there_are_no_more_texts_than_there_are(run, forbid_unk, num_texts):
    options = {"beam_size": 300, "num_samples": 300, "num_tokens": 1, "forbid_unk": forbid_unk}
    out, err, result = run(method="beam", **options)
    assert len(set(result["texts"])) == len(result["texts"]) == num_texts
    assert out == "\n---\n".join(result["texts"]) + "\n"
    assert np.isfinite(result["log_probs"]).all()
    assert f"{num_texts} of 300 texts: there are no more\n" in err


@pytest.mark.parametrize("method", ["greedy", "beam"])
def test_it_works_without_compilation(run, method):
    options = {"method": method, "num_tokens": 2, "beam_size": 2}
    compiled = run(**options)[0]
    with jax.disable_jit():
        assert run(**options)[0] == compiled


@pytest.mark.parametrize("method", ["sample", "greedy", "beam"])
def test_until_eos_ends_each_text_there(run, method):
    several = 1 if method == "greedy" else 4
    texts = run(method=method, num_samples=several, num_tokens=40)[2]["texts"]
    out, _, result = run(method=method, num_samples=several, num_tokens=40, until_eos=True)
    ended = result["texts"]
    assert out == "\n---\n".join(ended) + "\n"
    assert not any("\n" in text for text in ended)
    if method != "beam":  # which scores what ends otherwise
        assert ended == [text.split("\n")[0] for text in texts]


@pytest.mark.parametrize("method", ["sample", "beam"])
def test_unk_can_be_forbidden(run, method):
    options = {"method": method, "num_samples": 5, "num_tokens": 40}
    assert any("<unk>" in text for text in run(**options)[2]["texts"])
    assert not any("<unk>" in text for text in run(**options, forbid_unk=True)[2]["texts"])


def test_a_prompt_word_outside_the_vocabulary_is_told_and_read_as_unk(run):
    out, err, _ = run(prompt="a zebra\nb zebra")
    assert out.startswith("a <unk>\nb <unk>")
    assert err.count("'zebra' is not in the vocabulary: read as <unk>\n") == 1
    assert "zebra" not in out


def test_without_unk_such_a_word_is_an_error(run, tmp_path):
    save_model(make_config(), tmp_path, tuple(t for t in TOKENS if t != "<unk>"))
    with pytest.raises(InputError, match="'zebra'"):
        run(workdir=tmp_path, prompt="a zebra")
    assert not (tmp_path / "generate.json").exists()


@pytest.mark.parametrize(("method", "most"), [("greedy", 1), ("beam", 5)])
def test_more_texts_than_the_method_gives_are_refused(tmp_path, run, method, most):
    with pytest.raises(InputError, match=f"must be at most {most} with method {method}"):
        run(workdir=tmp_path, method=method, num_samples=most + 1)


def test_a_prompt_that_is_not_utf8_is_refused(run):
    with pytest.raises(InputError, match="byte 0xff is not UTF-8"):
        run(prompt="a \udcff")


def test_sentences_of_a_model_that_reads_from_the_end_are_turned(workdir):
    best = load_best_model(make_config(), workdir)
    found, turned = (
        generate_sentences(best._replace(fields={"data.backward": backward}), 4, 0)
        for backward in (False, True)
    )
    assert turned == [" ".join(reversed(sentence.split())) for sentence in found] != found
