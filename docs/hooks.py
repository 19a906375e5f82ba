"""What mkdocs does not do by itself: pages and pictures of experiments/ become part of the site."""

from pathlib import Path
from typing import Any

from mkdocs.structure.files import File, Files

ROOT = Path(__file__).parents[1]


def on_files(files: Files, config: Any) -> Files:
    """Adds experiments/, whose pages and pictures the documents link."""
    for path in sorted((ROOT / "experiments").rglob("*")):
        if path.suffix in (".md", ".png"):
            name = path.relative_to(ROOT).as_posix()
            files.append(File.generated(config, name, abs_src_path=str(path)))
    return files


def on_page_markdown(markdown: str, **_: Any) -> str:
    """In the repository experiments/ lies beside docs/, in the site within it."""
    return markdown.replace("](../experiments/", "](experiments/")
