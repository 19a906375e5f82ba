"""What the documents name is there: commands, flags, fields, files, functions, snippets."""

import ast
import json
import math
import os
import pkgutil
import re
import subprocess
import sys
import tomllib
from pathlib import Path

import jax
import numpy as np
import pytest

from awd_jax.core.cells import CELLS
from awd_jax.core.heads import HEADS
from awd_jax.models import MODELS
from awd_jax.recipe import MODEL_RULES, rules_of
from awd_jax.tasks import TASKS
from awd_jax.train import PROBLEMS
from tests import documents
from tests.documents import DOCUMENTS, MAIN, MARKDOWN, ROOT, START, commands, fences, read, units

FOLDERS = ("awd_jax", "configs", "docs", "experiments", "tests")
MADE = {"tensorboard/", "checkpoints/"}  # by a run, in its workdir
WRONG = """
`python -m awd_jax.main --config=configs/none.py`, `python -m awd_jax.main --confg=configs/ptb.py`,
`python -m awd_jax.main --config=configs/ptb.py`, `--config.train.bptt=0`, `--config.train.bppt`

- `python experiments/benchmark.py`, `--parts=stop`, `--speed=1`, `--sped`, `--torch-python=a/b`
- `python experiments/epoch_overhead.py --epochs=3`, `python experiments/none.py`

    python -m experiments.seq2seq_table none
"""


ALL = [command for name in DOCUMENTS for command in commands(name, read(name))]
ALL_WRONG = list(commands("", WRONG))
RULES = rules_of(*MODEL_RULES)
each_document = pytest.mark.parametrize("document", MARKDOWN)


@pytest.fixture(scope="module")
def taken(tmp_path_factory):
    """What programs say of each command, by its words."""
    corpus = tmp_path_factory.mktemp("corpus")
    for name in ("train.txt", "valid.txt", "test.txt", "test.tsv", "ours.tsv"):
        (corpus / name).touch()
    asked = [command.words for command in ALL + ALL_WRONG]
    # Without this checkout, which pytest or a user may have put there.
    places = os.environ.get("PYTHONPATH", "").split(os.pathsep)
    places = [place for place in places if place and Path(place).resolve() != ROOT.resolve()]
    result = subprocess.run(
        [sys.executable, "-P", documents.__file__],
        input=json.dumps(asked).replace("CORPUS", str(corpus)),
        cwd=ROOT,
        env=os.environ | {"PYTHONPATH": os.pathsep.join(places)},
        stdout=subprocess.PIPE,
        text=True,
        check=True,
    )
    answers = json.loads(result.stdout.splitlines()[-1])
    return {tuple(words): answer for words, answer in zip(asked, answers, strict=True)}


@pytest.mark.parametrize("command", ALL, ids=lambda c: f"{c.document}: {c.text[:80]}")
def test_each_command_is_taken(command, taken):
    answer = taken[tuple(command.words)]
    if re.fullmatch("ModuleNotFoundError: No module named '(torch|transformers)'", answer):
        pytest.skip("PyTorch, or a library of it, is not installed")
    assert not answer, f"{command.document}: {command.text}: {answer}"


@pytest.mark.parametrize("command", ALL_WRONG, ids=lambda c: c.text)
def test_a_wrong_command_is_found(command, taken):
    is_right = command.text.endswith(("ptb.py", "benchmark.py")) and "confg" not in command.text
    assert is_right == (not taken[tuple(command.words)])


def test_no_command_is_overlooked():
    for document in DOCUMENTS:
        found = [c for c in ALL if c.document == document and re.search(START, c.text)]
        assert len(found) == len(re.findall(START, " ".join(read(document).split()))), document
        starts_itself = "def parse_arguments" in (ROOT / document).read_text(encoding="utf-8")
        assert found or not starts_itself, f"{document}: does not say how it is started"
    assert sum(c.words[:2] == MAIN for c in ALL) > 20
    assert len(ALL) > 50
    assert not [c for c in ALL if "$" in " ".join(c.words)], "a variable that FILLED lacks"


def snippets(document: str) -> list[str]:
    return [code for language, code in fences(read(document)) if language == "python"]


def pieces(document: str) -> list[str]:
    return [piece for unit in units(read(document)) for piece in unit]


def test_targets_and_extras():
    """`make TARGET` and `pip install '.[EXTRA]'`."""
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    project = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    there = {f"make {target}" for target in re.findall(r"^([\w-]+):", makefile, re.MULTILINE)}
    there |= {f"pip install '.[{extra}]'" for extra in project["optional-dependencies"]}
    named = [
        (document, command)
        for document in DOCUMENTS
        for piece in pieces(document)
        for command in re.findall(r"\bmake [\w-]+|\bpip install '\.\[\w+\]'", piece)
    ]
    assert len(named) >= 5
    assert not [pair for pair in named if pair[1] not in there]


@each_document
def test_fields(document):
    """`train.batch_size`, `config.cache`, and `method=greedy` for a field of any group."""
    groups = {name.split(".")[0] for name in RULES}
    for piece in pieces(document):
        name = re.fullmatch(
            r"(?:config\.)?(\w+)\.(?!txt$|tsv$|png$|svg$|source$|target$|jsonl?$)\w+", piece
        )
        if name and name[1] in groups:
            assert piece.removeprefix("config.") in RULES, f"{document}: {piece}"
        group = re.fullmatch(r"config\.(?!json$)(\w+)", piece)
        assert not group or group[1] in groups, f"{document}: {piece}"
        field = re.fullmatch(r"([a-z_]+)=.+", piece)
        assert not field or any(n.endswith(f".{field[1]}") for n in RULES), f"{document}: {piece}"


def test_the_table_of_tasks_has_all():
    table = read("README.md").split("| `--task=` |")[1].split("\n\n")[0]
    rows = re.findall(r"^\| (`.*?) \|", table, re.MULTILINE)
    assert {name for row in rows for name in re.findall(r"`(\w+)`", row)} | {"train"} == set(TASKS)


def find(document: str, name: str) -> list[Path]:
    """What a document may mean by a path or, for a file alone, by its name."""
    places = [ROOT, (ROOT / document).parent, *(ROOT / folder for folder in FOLDERS)]
    found = [path for place in places for path in place.glob(name.rstrip("/"))]
    if "/" not in name:
        found += [path for folder in FOLDERS for path in (ROOT / folder).rglob(name)]
    return [path for path in found if path.is_dir() or not name.endswith("/")]


@each_document
def test_files_and_folders(document):
    path = r"[\w*-][\w.*-]*(?:/[\w.*-]+)*"
    named = {p for p in pieces(document) if re.fullmatch(rf"{path}/|{path}\.(?:py|md|png)", p)}
    named |= {p for p in pieces(document) if "/" in p and re.fullmatch(path, p)}
    named |= set(re.findall(r"\]\(([^)#:]+)\)", read(document)))
    assert named or document.startswith("docs/api_"), document
    for name in named - MADE:
        assert name.startswith("runs/") or find(document, name), f"{document}: {name}"


def test_functions_of_modules():
    """`core/masks.py`: `sample_locked`."""
    named = re.findall(r"`([\w/]+\.py)`: (`\w+`(?:, `\w+`)*)", read("README.md"))
    assert len(named) > 5
    for file, names in named:
        tree = ast.parse(find("README.md", file)[0].read_text(encoding="utf-8"))
        there = {node.name for node in tree.body if hasattr(node, "name")}
        assert set(re.findall(r"\w+", names)) <= there, f"{file}: {names}"


def test_modules_and_snippets():
    """Each snippet of Python is Python, and what it takes from packages is in them."""
    codes = [code for document in MARKDOWN for code in snippets(document)]
    assert len(codes) >= 2
    names = {piece for piece in pieces("README.md") if re.fullmatch(r"awd_jax(\.\w+)+", piece)}
    for node in (node for code in codes for node in ast.walk(ast.parse(code))):
        match node:
            case ast.ImportFrom(module=module, names=imported):
                names |= {f"{module}.{alias.name}" for alias in imported}
            case ast.Import(names=imported):
                names |= {alias.name for alias in imported}
            case ast.Attribute() if re.match(
                r"(jax|optax|safetensors)\.[\w.]+$", ast.unparse(node)
            ):
                names.add(ast.unparse(node))
    assert len(names) > 8
    for name in names:
        try:
            pkgutil.resolve_name(name)
        except (ImportError, AttributeError) as error:
            raise AssertionError(f"a snippet: {name}: {error}") from error


@pytest.fixture
def tables():
    """The tables of parts, from which rows that a test adds are taken out again."""
    rows = [(table, dict(table)) for table in (CELLS, HEADS, MODELS, PROBLEMS)]
    yield
    for table, before in rows:
        table.clear()
        table.update(before)


@pytest.mark.usefixtures("tables")
@pytest.mark.parametrize("document", [d for d in MARKDOWN if d != "README.md" and snippets(d)])
def test_the_snippets_of_a_page_run(document, tmp_path, monkeypatch):
    """One after the other, in a directory of their own."""
    monkeypatch.chdir(tmp_path)
    run = {"__name__": "page"}
    with jax.numpy_dtype_promotion("standard"):  # optax's Adam promotes silently
        for code in snippets(document):
            exec(code, run)


def test_the_site_has_each_page_and_each_module_of_core():
    config = (ROOT / "mkdocs.yml").read_text(encoding="utf-8")
    in_nav = re.findall(r"^ +- .*: (\S+\.md)$", config, re.MULTILINE)
    pages = [d.removeprefix("docs/") for d in MARKDOWN if "/" in d]
    assert sorted(in_nav) == sorted(pages)
    described = re.findall(r"^::: (\S+)$", "\n".join(map(read, MARKDOWN)), re.MULTILINE)
    core = {f"awd_jax.core.{p.stem}" for p in (ROOT / "awd_jax/core").glob("[a-z]*.py")}
    assert core <= set(described)
    assert len(described) == len(set(described))
    for name in described:
        pkgutil.resolve_name(name)


def test_the_readmes_snippet_trains():
    (snippet,) = snippets("README.md")
    run = {}
    exec(snippet, run)
    assert run["score"].nll / run["window"].counts.tokens < 0.5 * math.log(9)
    jax.tree.map(np.testing.assert_array_equal, run["params_to_evaluate"], run["params"])


def test_the_reading_order_has_as_many_lines_as_it_says():
    section = read("README.md").split("## Read the code")[1].split("Then")[0]
    files = re.findall(r"`([\w/]+\.py)`", section)
    texts = [(ROOT / "awd_jax" / file).read_text(encoding="utf-8") for file in files]
    assert sum(len(text.splitlines()) for text in texts) == int(
        re.findall(r"(\d+) lines", section)[0]
    )
    assert max(map(len, read("README.md").splitlines())) <= 100
