import sys

import ml_dtypes
import numpy as np
import pytest
import safetensors.numpy

from awd_jax.errors import InputError
from awd_jax.interchange.weights_file import read_weights, write_safetensors

ARRAYS = {
    "a": np.arange(6, dtype=np.float32).reshape(2, 3) / 7,
    "b": np.array([np.float32(1e-45), -0.0, np.finfo(np.float32).max], np.float32),
}


def test_what_is_written_is_read_bit_for_bit(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, {**ARRAYS, "t": ARRAYS["a"].T}, {"vocabulary": '["é"]'})
    arrays, metadata = read_weights(path)
    assert metadata == {"vocabulary": '["é"]'}
    assert arrays.keys() == {"a", "b", "t"}
    for name, array in {**ARRAYS, "t": ARRAYS["a"].T}.items():
        assert arrays[name].tobytes() == array.tobytes()
        assert arrays[name].shape == array.shape
    assert [p.name for p in tmp_path.iterdir()] == ["m.safetensors"]


@pytest.mark.parametrize("dtype", [np.float16, np.float64, ml_dtypes.bfloat16])
def test_other_floating_point_numbers_become_float32(dtype, tmp_path):
    path = tmp_path / "m.safetensors"
    safetensors.numpy.save_file({"a": ARRAYS["a"].astype(dtype)}, path)
    array = read_weights(path).arrays["a"]
    assert array.dtype == np.float32
    np.testing.assert_array_equal(array, ARRAYS["a"].astype(dtype).astype(np.float32))


@pytest.mark.parametrize(
    ("array", "told"),
    [
        (np.array([1, np.nan], np.float32), "m.safetensors: a: has numbers that are not finite"),
        (np.array([-np.inf], np.float32), "not finite"),
        (np.array([1e300]), "not finite in float32"),
        (np.arange(3), "a is int64: must be floating point"),
    ],
)
def test_numbers_that_no_model_has(array, told, tmp_path):
    safetensors.numpy.save_file({"a": array}, tmp_path / "m.safetensors")
    with pytest.raises(InputError, match=told):
        read_weights(tmp_path / "m.safetensors")


@pytest.mark.parametrize("content", [b"", b"not at all", None])
def test_a_damaged_or_missing_file(content, tmp_path):
    path = tmp_path / "m.safetensors"
    if content is not None:
        path.write_bytes(content)
    with pytest.raises(InputError, match="is not a file" if content is None else "cannot be read"):
        read_weights(path)


def test_a_cut_file(tmp_path):
    path = tmp_path / "m.safetensors"
    write_safetensors(path, ARRAYS, {})
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match="cannot be read"):
        read_weights(path)


def test_without_torch_the_extra_is_named(tmp_path, monkeypatch):
    (tmp_path / "m.pt").write_bytes(b"")
    monkeypatch.setitem(sys.modules, "torch", None)
    with pytest.raises(InputError, match=r"pip install 'awd_jax\[torch\]'"):
        read_weights(tmp_path / "m.pt")


class Model:
    """What awd-lstm-lm pickles, or what an attacker does."""

    def __reduce__(self):
        return pytest.fail, ("unpickled",)


class TestTorch:
    @pytest.fixture
    def torch(self):
        return pytest.importorskip("torch", reason="torch is not installed")

    @pytest.mark.parametrize("wrap", [lambda s: s, lambda s: {"model": s, "opt": {"lr": [1.0]}}])
    @pytest.mark.parametrize("old_format", [False, True])
    def test_a_state_dict(self, torch, wrap, old_format, tmp_path):
        half = torch.arange(3).to(torch.bfloat16)
        state = {n: torch.nn.Parameter(torch.from_numpy(a)) for n, a in ARRAYS.items()}
        path = tmp_path / "m.pt"
        torch.save(
            wrap({**state, "half": half}), path, _use_new_zipfile_serialization=not old_format
        )
        arrays, metadata = read_weights(path)
        assert metadata == {}
        assert arrays.keys() == {"a", "b", "half"}
        assert arrays["half"].tolist() == [0, 1, 2]
        for name, array in ARRAYS.items():
            assert arrays[name].tobytes() == array.tobytes()

    @pytest.mark.parametrize("whole", [[Model(), None, None], Model()])
    @pytest.mark.parametrize("old_format", [False, True])
    def test_pickled_objects_are_refused(self, torch, whole, old_format, tmp_path):
        torch.save(whole, tmp_path / "m.pt", _use_new_zipfile_serialization=not old_format)
        with pytest.raises(InputError, match=r"pickled objects.*model.state_dict\(\)"):
            read_weights(tmp_path / "m.pt")

    @pytest.mark.parametrize("content", [[1, 2], {"a": 1}, {1: None}, {"a": [1]}])
    def test_what_is_no_state_dict(self, torch, content, tmp_path):
        torch.save(content, tmp_path / "m.pt")
        with pytest.raises(InputError, match="not a dict of tensors"):
            read_weights(tmp_path / "m.pt")

    def test_a_damaged_file(self, torch, tmp_path):
        path = tmp_path / "m.pt"
        torch.save({"a": torch.zeros(3)}, path)
        path.write_bytes(path.read_bytes()[:-40])
        with pytest.raises(InputError, match=r"m\.pt: "):
            read_weights(path)
