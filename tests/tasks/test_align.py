"""The task as a user runs it."""

import sys
from types import SimpleNamespace

import numpy as np
import pytest

from awd_jax.errors import InputError
from awd_jax.tasks.align import align
from tests.tasks import saved_model
from tests.tasks.saved_translator import (
    make_config,
    save_translator,
    table,  # noqa: F401 (a fixture)
)


@pytest.fixture
def run(tmp_path, capsys):
    def run_it(text, attention="dot", **options):
        config = make_config(attention)
        save_translator(config, tmp_path / "run")
        (tmp_path / "pairs.tsv").write_text(text)
        config.align.input = str(tmp_path / "pairs.tsv")
        config.align.update(options)
        align(config, tmp_path / "run")
        return capsys.readouterr().out

    return run_it


@pytest.fixture
def drawn(monkeypatch):
    """What is drawn, where matplotlib is not installed."""
    pairs = []

    def draw(figure_class, pair):
        pairs.append(pair)
        return SimpleNamespace(savefig=lambda file, **options: file.write(b"a picture"))

    module = sys.modules[align.__module__]
    monkeypatch.setattr(module, "load_figure", lambda task: None)
    monkeypatch.setattr(module, "_draw", draw)
    return pairs


def test_it_draws_a_given_target_and_a_translation_of_what_has_none(run, drawn, tmp_path):
    out = run("a b\tA C\nc d e\nb\tD\n", num_pairs=2)
    pictures = [tmp_path / "run" / f"align-{n}.png" for n in (1, 2)]
    assert out.splitlines() == list(map(str, pictures))
    assert all(picture.read_bytes() == b"a picture" for picture in pictures)
    given, found = drawn
    assert (given.source, given.target) == (["a", "b"], ["A", "C", "<eos>"])
    assert found.source == ["c", "d", "e"]
    for pair in drawn:
        assert pair.attention.shape == (len(pair.target), len(pair.source))
        np.testing.assert_allclose(pair.attention.sum(1), 1, rtol=1e-5)
    again = run(f"c d e\t{' '.join(found.target).removesuffix(' <eos>')}\n")
    assert again.count("\n") == 1
    np.testing.assert_allclose(drawn[2].attention[: len(found.target)], found.attention, rtol=1e-4)


@pytest.mark.parametrize(
    ("text", "told"),
    [
        ("a\n\nb\n", "line 2: is blank"),
        ("", "is empty"),
        ("a\tA <eos> B\n", "line 1: has <eos> in its target"),
    ],
)
def test_a_bad_line_is_named_before_anything_is_drawn(run, drawn, text, told):
    with pytest.raises(InputError, match=f"pairs.tsv(, |: ){told}"):
        run(text)
    assert not drawn


def test_a_file_must_be_given(run, drawn):
    with pytest.raises(InputError, match=r"config.align.input = '': must be a file"):
        run("a\n", input="")


def test_a_model_without_attention_is_refused(run, drawn):
    with pytest.raises(InputError, match="--task=align: needs a model with attention"):
        run("a\n", attention="none")


def test_a_language_model_is_refused(drawn, tmp_path):
    config = saved_model.make_config()
    saved_model.save_model(config, tmp_path)
    with pytest.raises(InputError, match=r"model.name = recurrent: must be a translator"):
        align(config, tmp_path)


def test_without_matplotlib_it_says_how_to_install_it(run, monkeypatch):
    monkeypatch.setitem(sys.modules, "matplotlib.figure", None)
    with pytest.raises(InputError, match=r"needs matplotlib; install it: pip install"):
        run("a\n")


def test_the_picture_is_one(run, tmp_path):
    pytest.importorskip("matplotlib")
    run("a b $ $\tA\n")
    content = (tmp_path / "run" / "align-1.png").read_bytes()
    assert content.startswith(b"\x89PNG")
