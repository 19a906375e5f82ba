import json

import numpy as np
import pytest
from hypothesis import HealthCheck, given, settings
from hypothesis import strategies as st

from awd_jax.data.buckets import choose_shapes, training_plan
from awd_jax.data.label_plan import LabelPlan
from awd_jax.data.labels import Reading, balance, load_labels
from awd_jax.data.subjects import FEWEST_WORDS, SIZES, draw_subjects
from awd_jax.data.synthetic import SUBJECTS
from awd_jax.data.vocabulary import Vocabulary
from awd_jax.errors import InputError

ROWS = [("good", "a b"), ("bad", "b c d"), ("good", "a"), ("bad", "d d")]
TSV = "".join(f"{label}\t{text}\n" for label, text in ROWS)


@pytest.fixture
def mine(tmp_path):
    def write(**files):
        for split in ("train", "valid", "test"):
            if not any(name.startswith(split) for name in files):
                files[f"{split}_tsv"] = TSV
        for name, content in files.items():
            raw = content if isinstance(content, bytes) else content.encode()
            (tmp_path / name.replace("_", ".")).write_bytes(raw)
        return str(tmp_path)

    return write


def load(directory, name="labels", reading=None, share=0.5, most=0, vocabulary=None):
    reading = reading or Reading("word", False, 0)
    return load_labels(name, directory, reading, share, most, vocabulary, seed=0)


def documents(corpus, split="train"):
    pairs = getattr(corpus, split)
    return [
        (
            corpus.labels[int(pairs.targets[i][0])],
            " ".join(corpus.vocabulary.decode(pairs.sources[i])),
        )
        for i in range(len(pairs))
    ]


EXPECTED = [(label, f"<eos> {text}") for label, text in ROWS]


def test_rows_objects_and_directories_are_the_same_documents(mine, tmp_path):
    lines = "".join(json.dumps({"label": a, "text": b}) + "\n" for a, b in ROWS)
    directory = mine(valid_jsonl=lines)
    for index, (label, text) in enumerate(ROWS):
        place = tmp_path / "test" / label
        place.mkdir(parents=True, exist_ok=True)
        (place / f"{index}.txt").write_text(text + "\n")
    (tmp_path / "test.tsv").unlink(missing_ok=True)
    corpus = load(directory)
    assert corpus.labels == ("bad", "good")
    assert documents(corpus) == documents(corpus, "valid") == EXPECTED
    assert sorted(documents(corpus, "test")) == sorted(EXPECTED)


def test_lines_of_a_text_end_with_eos_as_in_a_corpus(mine):
    rows = '{"label": "x", "text": "a b\\n\\nc"}\n{"label": 2, "text": "d"}\n'
    corpus = load(mine(train_jsonl=rows, test_tsv="x\ta\n", valid_tsv="2\ta\n"))
    assert documents(corpus)[0] == ("x", "<eos> a b <eos> <eos> c")
    assert corpus.labels == ("2", "x")


def test_only_the_end_of_a_text_and_backward(mine):
    end = load(mine(), reading=Reading("word", False, 3))
    assert documents(end)[1] == ("bad", "b c d")
    backward = load(mine(), reading=Reading("word", True, 3))
    assert documents(backward)[1] == ("bad", "d c b")


def test_valid_is_a_share_of_each_label(tmp_path):
    rows = [("a", f"x{i}") for i in range(40)] + [("b", f"y{i}") for i in range(10)]
    text = "".join(f"{label}\t{word}\n" for label, word in rows)
    (tmp_path / "train.tsv").write_text(text)
    (tmp_path / "test.tsv").write_text("a\tx\n")
    corpus = load(str(tmp_path), share=0.2)
    for split, counts in (("train", [32, 8]), ("valid", [8, 2])):
        assert np.bincount(getattr(corpus, split).targets.ids).tolist() == counts
    assert documents(load(str(tmp_path), share=0.2)) == documents(corpus)


def test_train_keeps_a_document_of_each_label(tmp_path):
    (tmp_path / "train.tsv").write_text("a\tx\na\ty\nb\tx\nb\tz\nc\tw\n")
    (tmp_path / "test.tsv").write_text("a\tx\n")
    corpus = load(str(tmp_path), share=0.8)
    for split, counts in (("train", [1, 1, 1]), ("valid", [1, 1])):
        assert np.bincount(getattr(corpus, split).targets.ids).tolist() == counts


def test_the_vocabulary_is_that_of_train_or_the_one_given(mine):
    directory = mine(test_tsv="good\tzebra a\n")
    corpus = load(directory)
    assert documents(corpus, "test") == [("good", "<eos> <unk> a")]
    assert corpus.notes == ("test: 1 of 3 tokens read as <unk>",)
    given_one = load(directory, vocabulary=Vocabulary(("<eos>", "<unk>", "zebra")))
    assert documents(given_one, "test") == [("good", "<eos> zebra <unk>")]
    with pytest.raises(InputError, match=r"test.tsv, line 1: has a token outside"):
        load(directory, vocabulary=Vocabulary(("<eos>", *"abcd")))


@pytest.mark.parametrize(
    ("files", "told"),
    [
        ({"test_tsv": "good\ta\nugly\tb\n"}, r"test.tsv, line 2: has the label 'ugly'"),
        ({"train_tsv": "good\ta\ngood\tb\n"}, "single label, 'good'"),
        ({"train_tsv": "good\ta\nbad\t \n"}, r"train.tsv, line 2: has a blank text"),
        ({"train_tsv": "good\ta\n\tb\n"}, r"train.tsv, line 2: has a blank label"),
        ({"train_tsv": "good a\n"}, r"train.tsv, line 1: has no tab"),
        ({"train_jsonl": "[1]\n"}, r"train.jsonl, line 1: has no label and text"),
        ({"train_jsonl": "{\n"}, r"train.jsonl, line 1: is not JSON"),
        ({"train_jsonl": '{"label": "a", "text": 3}\n'}, r"line 1: has a label or text that is no"),
        ({"train_jsonl": '{"label": "a", "text": "b\\ud83d"}\n'}, r"line 1: has half a character"),
        ({"train_tsv": b"good\t\xff\n"}, r"train.tsv, line 1: byte 0xff is not UTF-8"),
        ({"train_tsv": ""}, r"train.tsv: has no documents"),
    ],
)
def test_a_fault_is_named_with_its_line(mine, files, told):
    with pytest.raises(InputError, match=told):
        load(mine(**files))


def test_missing_files_and_directories(tmp_path, mine):
    with pytest.raises(InputError, match="is no directory"):
        load(str(tmp_path / "none"))
    with pytest.raises(InputError, match="lacks the documents of train"):
        load(str(tmp_path))


pieces = st.sampled_from(
    [b"a", b"b", b"\t", b"\n", b"\r", b" ", b"\0", b"a\tb\n", b"\xff", b"<eos>", b"<unk>", b"{}"]
)


@settings(suppress_health_check=[HealthCheck.function_scoped_fixture])
@given(st.lists(pieces, max_size=12).map(b"".join), st.sampled_from(["word", "char", "byte"]))
def test_any_file_is_a_corpus_or_an_error_in_one_line(mine, content, level):
    try:
        corpus = load(mine(train_tsv=content), reading=Reading(level, True, 4))
    except InputError as error:
        assert len(str(error).splitlines()) == 1
        return
    assert len(corpus.labels) > 1
    assert corpus.train.sources.lengths.min() > 0


def test_batches_hold_each_document_once_and_parts_are_columns(mine):
    corpus = load(mine())
    shapes = choose_shapes(corpus.train, (corpus.valid, corpus.test), 2)
    weights = np.float32([0.5, 2.0])
    plan = LabelPlan(training_plan(corpus.train, shapes, 3, 2, seed=0, epoch=1), weights)
    assert (len(plan), plan.num_sequences, plan.num_tokens) == (2, 3, 4)
    found = []
    for batch, part in zip(plan, plan.part(slice(1, 3)), strict=True):
        is_real = batch.label_weights[0] > 0
        found += batch.labels[0, is_real].tolist()
        assert np.array_equal(batch.weights.any(axis=0), is_real)
        assert batch.counts.targets == part.counts.targets == batch.label_weights.sum()
        assert batch.counts.tokens == part.counts.tokens == batch.weights.sum()
        assert batch.counts.pairs == batch.weights[1:].sum()
        for whole, own in zip(batch[:4], part[:4], strict=True):
            np.testing.assert_array_equal(whole[:, 1:3], own)
    assert sorted(found) == [0, 0, 1, 1]


def test_fewer_documents_have_the_same_labels(mine):
    corpus = load(mine(), most=1)
    assert documents(corpus) == EXPECTED[:1]
    assert corpus.labels == ("bad", "good")
    assert np.all(np.isfinite(balance(corpus.train, 2)))


def test_balanced_classes_weigh_the_same_in_all(mine):
    corpus = load(mine(train_tsv="a\tx\nb\tx\na\tx\na\tx\n", valid_tsv="a\tx\n", test_tsv="b\tx\n"))
    np.testing.assert_allclose(balance(corpus.train, 2), [2 / 3, 2], rtol=1e-6)


def test_subjects_have_their_pronouns_and_no_text_is_in_two_splits():
    splits = draw_subjects(0)
    assert tuple(map(len, splits)) == SIZES
    texts = [text for split in splits for _, text in split]
    assert len(set(texts)) == len(texts)
    assert min(len(text.split()) for text in texts) >= FEWEST_WORDS
    assert {label for label, _ in splits[0]} == SUBJECTS.keys()
    nouns = {"king": "he", "queen": "she", "dog": "it", "queens": "they"}
    for label, text in splits[0]:
        first = next((w for w in text.split() if w in nouns), None)
        before = text.split()[:3]
        if first in before and "near" not in before and "that" not in before:
            assert nouns[first] == label, text
    assert draw_subjects(0) == splits
