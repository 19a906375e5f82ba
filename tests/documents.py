"""Reads the commands out of the documents.

As a script it is the process in which their programs take them, as from a shell: neither flags nor
the places of imports leak into tests.
"""

import ast
import contextlib
import importlib
import io
import json
import re
import runpy
import shlex
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

ROOT = Path(__file__).parents[1]
MARKDOWN = [str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("docs/*.md"))]
MARKDOWN += ["README.md", "CONTRIBUTING.md", "experiments/README.md"]
SCRIPTS = [str(p.relative_to(ROOT)) for p in sorted(ROOT.glob("experiments/*.py"))]
DOCUMENTS = [*MARKDOWN, *SCRIPTS, "awd_jax/main.py"]
MAIN = ["-m", "awd_jax.main"]
START = r"python (?:-m (?:awd_jax|experiments)|\S+\.py)"  # of a command
# What stands for something of the user's. CORPUS is a directory that the test makes.
FILLED = {
    r"\$PENN\b|\bDIR\b|\bFILE\b|\bV\b": "CORPUS",
    r"\bTORCH_ENV/bin/python\b": sys.executable,
    r"\bOUT\.png\b": "CORPUS/out.png",
    r"\bWORKDIR \[WORKDIR \.\.\.\]": "experiments/averaging experiments/quickstart",
    r"\bruns/benchmark/benchmark\.json\b": "experiments/benchmark/benchmark.json",
    r"\bruns/ptb_small/config\.json\b": "experiments/seq2seq/addition-0/config.json",
    r"\bFIRST\b": "localhost",
}


class Command(NamedTuple):
    """A command of a document, or a flag that it names alone: one word without a value."""

    document: str
    text: str
    words: list[str]  # after `python`


def read(document: str) -> str:
    """A document; of a module, its docstring."""
    text = (ROOT / document).read_text(encoding="utf-8")
    return text if document.endswith(".md") else ast.get_docstring(ast.parse(text)) or ""


def fences(text: str) -> list[tuple[str, str]]:
    """Language and content of each block of code."""
    return re.findall(r"^```(\w*)\n(.*?)^```$", text, re.DOTALL | re.MULTILINE)


def units(text: str) -> Iterator[list[str]]:
    """The pieces of code of each paragraph, item or row, and each line of a block of code."""
    for language, content in fences(text):
        yield from ([line] for line in content.splitlines() if language != "python")
    text = re.sub(r"^```.*?^```$", "", text, flags=re.DOTALL | re.MULTILINE)
    for unit in re.split(r"\n(?=\s*(?:\||- |\n|python ))", text):
        unit = " ".join(unit.split())
        yield [unit] if unit.startswith("python ") else re.findall(r"`([^`]+)`", unit)


def words_of(piece: str) -> list[str]:
    """The words after `python`. The command may be within the argument of another one."""
    for pattern, value in FILLED.items():
        piece = re.sub(pattern, value, piece)
    words = shlex.split(piece, comments=True)
    if "python" not in words:
        return words_of(next(word for word in words if "python " in word))
    return words[words.index("python") + 1 :]


def commands(document: str, text: str) -> Iterator[Command]:
    """All of a document. Flags alone join the command, or the script, before them."""
    for unit in units(text):
        base = [document] if document in SCRIPTS else [*MAIN, "--config=configs/default.py"]
        for piece in unit:
            if re.search(START, piece):
                base = words_of(piece)
                yield Command(document, piece, base)
            elif document not in SCRIPTS and f"experiments/{piece}" in SCRIPTS:
                base = [f"experiments/{piece}"]
            elif piece.startswith("--") and not piece.startswith("--xla"):
                flags = words_of(f"python {piece}")
                is_name = len(flags) == 1 and re.fullmatch(r"[^=]+=?", piece)
                program = base[: 2 if base[0] == "-m" else 1]
                yield Command(document, piece, [*(program if is_name else base), *flags])


def take_main(words: list[str]) -> None:
    from absl import flags
    from absl.testing import flagsaver

    from awd_jax import command_line, recipe

    if len(words) == 1 and re.fullmatch(r"--[\w.]+=?", words[0]):
        name = words[0].strip("-=")
        known = (
            name == "help"
            or name in flags.FLAGS
            or name.removeprefix("config.") in recipe.rules_of("recurrent")
        )
        assert known, "no such flag"
        return
    with flagsaver.flagsaver():
        sys.argv[1:] = words  # where ml_collections looks for fields
        command_line.parse_flags(sys.argv)
        command_line.task()
        if "--distributed" not in words:
            command_line.place()


def take_script(program: list[str], words: list[str]) -> None:
    if program[0] == "-m":
        parse = importlib.import_module(program[1]).parse_arguments
    else:
        sys.path[0] = str(ROOT / Path(program[0]).parent)
        parse = runpy.run_path(program[0])["parse_arguments"]
    if len(words) == 1 and re.fullmatch(r"--[\w-]+", words[0]):
        with contextlib.redirect_stdout(io.StringIO()) as usage, contextlib.suppress(SystemExit):
            parse(["--help"])
        assert re.search(rf"{words[0]}\b", usage.getvalue()), "no such option"
        return
    parse(words)


def take(words: list[str]) -> str:
    """What a program says of a command, read up to where it would begin to work; '' takes it."""
    path = list(sys.path)
    sys.path.insert(0, str(ROOT))
    size = 2 if words[0] == "-m" else 1
    try:
        with contextlib.redirect_stderr(io.StringIO()) as complaint:
            is_main = words[:size] == MAIN
            take_main(words[size:]) if is_main else take_script(words[:size], words[size:])
    except SystemExit as end:
        return complaint.getvalue().strip().split("\n")[-1] if end.code else ""
    except Exception as error:
        return f"{type(error).__name__}: {error}"
    finally:
        sys.path[:] = path
        for name in list(sys.modules):  # each has to find its own
            if name.split(".")[0] in ("configs", "experiments", "tests"):
                del sys.modules[name]
    return ""


if __name__ == "__main__":
    print(json.dumps([take(words) for words in json.load(sys.stdin)]))
