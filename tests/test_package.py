"""What is installed runs without a checkout, and says so of its recipes."""

import os
import re
import shutil
import subprocess
import sys
import tomllib
from pathlib import Path

from tests.many import SECONDS

ROOT = Path(__file__).parents[1]
PROJECT = tomllib.loads((ROOT / "pyproject.toml").read_text(encoding="utf-8"))
SETUPTOOLS = PROJECT["tool"]["setuptools"]
FOLDERS = {n: SETUPTOOLS["package-dir"].get(n, n.replace(".", "/")) for n in SETUPTOOLS["packages"]}


def test_every_folder_is_a_package():
    modules = [*ROOT.glob("awd_jax/**/*.py"), *ROOT.glob("configs/**/*.py")]
    assert {str(path.parent.relative_to(ROOT)) for path in modules} == set(FOLDERS.values())


def test_a_recipe_is_found_without_a_checkout(tmp_path):
    for name, folder in FOLDERS.items():
        place = tmp_path / "site" / name.replace(".", "/")
        place.mkdir(parents=True, exist_ok=True)
        for path in (ROOT / folder).glob("*.py"):
            shutil.copy(path, place)
    (tmp_path / "empty").mkdir()
    arguments = ["--config=configs/addition_peeky.py:smoke", "--task=evaluate"]
    result = subprocess.run(
        [sys.executable, "-m", "awd_jax.main", *arguments],
        cwd=tmp_path / "empty",
        env=os.environ | {"PYTHONPATH": str(tmp_path / "site")},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    note, error = result.stderr.splitlines()
    assert note.endswith(f"{tmp_path}/site/awd_jax/recipes/configs/addition_peeky.py")
    assert "train first" in error
    assert list((tmp_path / "empty").iterdir()) == []


def test_ruff_before_a_commit_is_that_of_the_tests():
    hooks = (ROOT / ".pre-commit-config.yaml").read_text(encoding="utf-8")
    (version,) = re.findall(r"ruff-pre-commit\n +rev: v(\d+\.\d+)\.", hooks)
    assert any(
        requirement.startswith(f"ruff>={version},")
        for requirement in PROJECT["project"]["optional-dependencies"]["test"]
    )


def test_ci_makes_what_the_makefile_has():
    workflow = (ROOT / ".github/workflows/ci.yml").read_text(encoding="utf-8")
    makefile = (ROOT / "Makefile").read_text(encoding="utf-8")
    (targets,) = re.findall(r"target: \[(.+)\]", workflow)
    assert set(targets.split(", ")) <= set(re.findall(r"^([\w-]+):", makefile, re.MULTILINE))
    assert "make ${{ matrix.target }}" in workflow
