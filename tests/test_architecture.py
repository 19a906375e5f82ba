"""Who may import whom, that core comes alone, and how long a piece of code may be."""

import ast
import subprocess
import sys
from pathlib import Path

import pytest

PACKAGE = Path(__file__).parents[1] / "awd_jax"
FILES = sorted(PACKAGE.rglob("*.py"))

# main -> tasks -> train -> models -> core; data beside models; interchange beside train; run, which
# knows no model and no corpus, beside all of them. What is outside of the program (errors, files,
# standard streams) is below all but core and models.
OUTSIDE = {"errors", "files", "output"}
MAY_IMPORT = {
    "core": {"core"},
    "batches": set(),
    "models": {"core", "models", "batches", "errors"},
    "data": {"data", "batches", *OUTSIDE},
    "recipe": {"data", "rules", "model_rules", "data_rules", "cross_rules", "errors"},
    "data_rules": {"data", "rules"},
    "cross_rules": {"errors"},
    "model_rules": {"core", "rules", "part_rules", "errors"},
    "part_rules": {"core", "errors"},
    "rules": {"files"},
    "run": {"run", "recipe", *OUTSIDE},
    "train": {"core", "models", "data", "batches", "run", "train", *OUTSIDE},
    "interchange": {"core", "models", "interchange", *OUTSIDE},
    "tasks": {
        *("core", "models", "data", "batches", "run", "recipe", "train", "interchange", "tasks"),
        *OUTSIDE,
    },
    "main": {"command_line", "run", "tasks", *OUTSIDE},
    "command_line": {"run", "recipe", "tasks", *OUTSIDE},
    "output": {"files", "errors"},
    "files": {"errors"},
    "errors": set(),
    "__init__": set(),
}
CORE = sorted(f.stem for f in FILES if f.parent.name == "core" and f.stem != "__init__")


def parse(file):
    return ast.parse(file.read_text(encoding="utf-8"))


def imports(file):
    """Full dotted names: `from a.b import c` gives `a.b.c`."""
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            assert node.level == 0, f"{file}: a relative import"
            yield from (f"{node.module}.{alias.name}" for alias in node.names)


def layer(file):
    return file.relative_to(PACKAGE).parts[0].removesuffix(".py")


def third_parties(file):
    tops = {name.split(".")[0] for name in imports(file)}
    return tops - sys.stdlib_module_names - {"awd_jax"}


each_file = pytest.mark.parametrize("file", FILES, ids=lambda f: str(f.relative_to(PACKAGE)))


@each_file
def test_imports_follow_the_arrows(file):
    ours = {name.split(".")[1] for name in imports(file) if name.startswith("awd_jax.")}
    assert ours <= MAY_IMPORT[layer(file)]


@each_file
def test_third_parties_stay_in_their_layer(file):
    names = third_parties(file)
    match layer(file):
        case "core":
            assert names <= {"jax", "optax", "jaxtyping"}
        case "models":
            assert names <= {"jax", "optax", "jaxtyping", "flax"}
        case "data":
            assert not names & {"jax", "flax", "optax", "orbax"}
        case "run":
            assert not names & {"flax", "optax"}
        case "interchange":
            assert names <= {"jax", "jaxtyping", "flax", "numpy", "safetensors", "torch"}
        case "errors" | "files" | "output":
            assert not names


def test_importing_core_brings_nothing_else_along():
    code = f"import sys; from awd_jax.core import {', '.join(CORE)}; print(*sys.modules)"
    result = subprocess.run(
        [sys.executable, "-c", code],
        cwd=PACKAGE.parent,
        capture_output=True,
        text=True,
        check=True,
    )
    modules = set(result.stdout.split())
    assert {m for m in modules if m.startswith("awd_jax.")} == {
        "awd_jax.core",
        *(f"awd_jax.core.{name}" for name in CORE),
    }
    assert not modules & {
        "flax",
        "orbax",
        "tensorflow_datasets",
        "ml_collections",
        "tensorboardX",
        "beartype",
    }


@each_file
def test_a_missing_config_field_fails_loudly(file):
    """No `config.get(...)` and no `getattr(config, name, default)`."""
    for node in ast.walk(parse(file)):
        match node:
            case ast.Call(func=ast.Attribute(value=receiver, attr="get")):
                assert "config" not in ast.unparse(receiver).lower()
            case ast.Call(func=ast.Name(id="getattr"), args=[receiver, _, _]):
                assert "config" not in ast.unparse(receiver).lower()


@each_file
def test_what_prints_goes_through_output(file):
    """Which says what happens where a stream fails; `print` would raise what the system says."""
    for node in ast.walk(parse(file)):
        match node:
            case ast.Call(func=ast.Name(id="print")):
                raise AssertionError(f"line {node.lineno}: use output.say or output.note")
            case ast.Attribute(value=ast.Name(id="sys"), attr="stdout" | "stderr"):
                allowed = {"output", "launch", "report", "table"}  # isatty, flush
                assert file.stem in allowed, f"line {node.lineno}"


@each_file
def test_files_and_functions_are_short(file):
    assert len(file.read_text(encoding="utf-8").splitlines()) <= 250
    for node in ast.walk(parse(file)):
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef):
            assert node.end_lineno - node.lineno + 1 <= 60, node.name
