"""experiments/letters_to_phones.py: entries, splits and scores, without the dictionary."""

import json

import pytest

from experiments import letters_to_phones
from experiments.letters_to_phones import clean, main, num_edits, parse_arguments, split


def test_the_first_pronunciation_of_plain_words_without_stress():
    entries = [
        ("dail", ["D", "EY1", "L"]),
        ("dail", ["D", "OY1", "L"]),
        ("'em", ["AH0", "M"]),
        ("a.m.", ["EY2", "EH1", "M"]),
        ("ad-hoc", ["AE1", "D", "HH", "AA1", "K"]),
    ]
    assert clean(entries) == {"dail": ["D", "EY", "L"], "'em": ["AH", "M"]}


def test_splits_are_disjoint_complete_and_those_of_the_seed():
    words = [str(n) for n in range(20)]
    splits = split(words, 5, 3, 0)
    assert {name: len(drawn) for name, drawn in splits.items()} == {
        "train": 12,
        "valid": 3,
        "test": 5,
    }
    assert sorted(word for drawn in splits.values() for word in drawn) == sorted(words)
    assert split(reversed(words), 5, 3, 0) == splits != split(words, 5, 3, 1)


@pytest.mark.parametrize(
    ("ours", "theirs", "edits"),
    [("", "", 0), ("", "abc", 3), ("abc", "", 3), ("kitten", "sitting", 3), ("ab", "ba", 2)],
)
def test_the_fewest_edits(ours, theirs, edits):
    assert num_edits(ours, theirs) == edits


def test_score_counts_the_best_translation_of_each_line(tmp_path, capsys):
    (tmp_path / "test.tsv").write_text("dail\tD EY L\n'em\tAH M\nno\tN OW\nbe\tB IY\n")
    (tmp_path / "ours.tsv").write_text(
        "line\tscore\tnum_tokens\ttranslation\n"
        "1\t-0.1\t4\tD EY L\n1\t-2.0\t4\tD OY L\n"
        "2\t-0.1\t1\t\n3\t-0.5\t4\tN OW Z\n4\t-0.5\t3\tB IY\n"
    )
    files = [f"--reference={tmp_path}/test.tsv", f"--translations={tmp_path}/ours.tsv"]
    main(parse_arguments(["score", *files]))
    words, phones, result = capsys.readouterr().out.splitlines()
    assert words.startswith("word error rate 50.00% (published, other split: 23.60%")
    assert phones.startswith("phone error rate 33.33% (published, other split: 5.45%")
    assert json.loads(result) == {
        "words": 4,
        "phones": 9,
        "word_error_rate": 0.5,
        "phone_error_rate": 3 / 9,
    }


def test_a_line_that_is_not_translated_is_refused(tmp_path):
    (tmp_path / "test.tsv").write_text("no\tN OW\nbe\tB IY\n")
    (tmp_path / "ours.tsv").write_text("line\tscore\tnum_tokens\ttranslation\n1\t0.0\t3\tN OW\n")
    options = parse_arguments(
        ["score", f"--reference={tmp_path}/test.tsv", f"--translations={tmp_path}/ours.tsv"]
    )
    with pytest.raises(SystemExit, match="1 words are translated, and 2 are to be"):
        letters_to_phones.compare(options)
