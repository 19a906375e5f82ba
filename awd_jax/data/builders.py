"""The corpora as TFDS datasets: splits train, validation, test; records `{"text": bytes}`.

A record is a block of whole lines, about 1 MiB long; joined in order, the records of a split are
its text byte for byte. `as_data_source` reads them without TensorFlow:

    builder = Wikitext2()
    builder.download_and_prepare()
    for record in builder.as_data_source(split="train"): ...

The files come from TFDS's manual directory, $AWD_JAX_DATA, an earlier download, or the network.
"""

import contextlib
import functools
import io
import os
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import tensorflow_datasets as tfds

from awd_jax.data.catalogue import SOURCES, Source, Splits, find_local, find_splits, placement
from awd_jax.data.download import fetch
from awd_jax.data.text import Text, spelled_blocks
from awd_jax.errors import InputError, one_line


class _CorpusBuilder(
    tfds.core.GeneratorBasedBuilder,
    skip_registration=True,  # type: ignore[call-arg]
):
    """The corpus in `SOURCES` that has this builder's name."""

    VERSION = tfds.core.Version("1.0.0")
    MANUAL_DOWNLOAD_INSTRUCTIONS = "Any of the files that `awd_jax.data.catalogue` lists."

    def __init__(self, *, file_format: str | None = "array_record", **kwargs: Any) -> None:
        """Defaults to array_record, TFDS's one file format that needs no TensorFlow."""
        super().__init__(file_format=file_format, **kwargs)

    def _info(self) -> tfds.core.DatasetInfo:
        return tfds.core.DatasetInfo(
            builder=self,
            description=self.__doc__,
            features=tfds.features.FeaturesDict({"text": tfds.features.Text()}),
            disable_shuffling=True,
        )

    def _split_generators(self, dl_manager: tfds.download.DownloadManager) -> dict[str, Any]:
        splits = _provide(SOURCES[self.name], dl_manager)
        return {
            "train": self._generate_examples(splits.train),
            "validation": self._generate_examples(splits.valid),
            "test": self._generate_examples(splits.test),
        }

    def _generate_examples(self, text: Text) -> Iterator[tuple[int, dict[str, bytes]]]:
        for index, block in enumerate(self._blocks(text)):
            yield index, {"text": block}

    def _blocks(self, text: Text) -> Iterator[bytes]:
        return text.blocks()


class Ptb(_CorpusBuilder):
    """Penn Treebank as prepared by Mikolov et al.: 10,000 words, one sentence per line."""


class PtbChar(_CorpusBuilder):
    """Penn Treebank by character: blanks separate the characters, `_` stands for a blank."""

    def _blocks(self, text: Text) -> Iterator[bytes]:
        return spelled_blocks(text)


class Wikitext2(_CorpusBuilder):
    """WikiText-2 (Merity et al. 2016): 2 million words of Wikipedia."""


class Wikitext103(_CorpusBuilder):
    """WikiText-103 (Merity et al. 2016): 103 million words of Wikipedia."""


class Enwik8(_CorpusBuilder):
    """The first 10^8 bytes of a Wikipedia dump (Hutter Prize), split 90 : 5 : 5."""


class Text8(_CorpusBuilder):
    """10^8 bytes of Wikipedia as lower-case letters and blanks (Mahoney), split 90 : 5 : 5."""


_BUILDERS = {
    "ptb": Ptb,
    "ptb_char": PtbChar,
    "wikitext2": Wikitext2,
    "wikitext103": Wikitext103,
    "enwik8": Enwik8,
    "text8": Text8,
}


def prepared_splits(name: str) -> Splits:
    """The splits of a corpus from its TFDS dataset, which is prepared first if necessary.

    Raises:
      InputError: the files cannot be downloaded, or the dataset cannot be written.
    """
    # Given explicitly because TFDS reads this variable only once, at import.
    make_builder = functools.partial(_BUILDERS[name], data_dir=os.environ.get("TFDS_DATA_DIR"))
    builder = make_builder()
    try:
        with contextlib.redirect_stdout(io.StringIO()):  # TFDS prints its progress there
            builder.download_and_prepare()
    except (OSError, RuntimeError) as error:  # RuntimeError: of array_record, as on a full disk
        builder = make_builder()
        if not builder.is_prepared():  # another process may have been faster
            raise InputError(
                str(builder.data_dir), f"cannot be written ({error})", placement(SOURCES[name])
            ) from error
    # PtbChar stores characters with blanks between them, so they are read back as words.
    level = "word" if name == "ptb_char" else SOURCES[name].level
    return Splits(
        *(
            Text(
                f"{builder.data_dir} ({split})", level, functools.partial(_records, builder, split)
            )
            for split in ("train", "validation", "test")
        )
    )


def _records(builder: tfds.core.DatasetBuilder, split: str) -> Iterator[bytes]:
    try:
        for record in builder.as_data_source(split=split):
            if record["text"] is None:
                raise RuntimeError("it is truncated")
            yield record["text"]
    except (OSError, RuntimeError) as error:
        raise InputError(
            f"{builder.data_dir} ({split})",
            f"cannot be read ({one_line(error)})",
            "delete that directory: it is then prepared again",
        ) from error


def _provide(source: Source, dl_manager: tfds.download.DownloadManager) -> Splits:
    downloads = Path(dl_manager.download_dir) / source.folders[0]
    with contextlib.suppress(AssertionError):  # raised where there is no manual directory
        manual = find_splits(Path(dl_manager.manual_dir), source.level, source.layouts)
        if manual is not None:
            return manual
    local = find_local(source) or find_splits(downloads, source.level, source.layouts)
    if local is not None:
        return local
    fetch(source, downloads)
    fetched = find_splits(downloads, source.level, source.layouts)
    assert fetched is not None, "the remotes of a source provide one of its layouts"
    return fetched
