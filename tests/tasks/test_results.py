import json
import math

import pytest

from awd_jax.errors import StorageError
from awd_jax.tasks.results import leave_json, write_json


def test_a_result_is_written_with_null_for_what_is_not_finite(tmp_path):
    write_json(tmp_path, "result", {"nll": 1000.0, "perplexity": math.inf})
    assert json.loads((tmp_path / "result.json").read_text()) == {"nll": 1000.0, "perplexity": None}


def test_a_by_product_that_cannot_be_written_is_a_note(tmp_path, capsys):
    (tmp_path / "file").touch()
    with pytest.raises(StorageError):
        write_json(tmp_path / "file", "result", {})
    leave_json(tmp_path / "file", "result", {})
    said = capsys.readouterr().err
    assert said.startswith("awd_jax: note: ")
    assert said.endswith("result.json cannot be written (Not a directory)\n")
