"""The vocabulary of a model that was trained elsewhere."""

from collections import Counter
from pathlib import Path

from ml_collections import ConfigDict

from awd_jax.data.catalogue import PLAIN_LAYOUT, file_names, find_splits
from awd_jax.data.text import count_tokens
from awd_jax.data.vocabulary import EOS, UNK, Vocabulary
from awd_jax.errors import InputError
from awd_jax.files import local_path
from awd_jax.interchange import token_list
from awd_jax.interchange.weights_file import WeightsFile

# Foreign names of <eos> and <unk>. fastai marks no end of a text: xxbos starts the next one.
_EOS_NAMES = (EOS, "xxbos")
_UNK_NAMES = (UNK, "xxunk", "_unk_")


def read_vocabulary(config: ConfigDict, weights: WeightsFile) -> Vocabulary:
    """Reads the tokens of `import_model.vocabulary`, or those stored with the weights.

    The directory of a corpus gives its tokens by first appearance in train, valid and test, which
    is the order of awd-lstm-lm's ids.

    Raises:
      InputError: there is none, it cannot be read, or it has no token for the end of a text.
    """
    fields = config.import_model
    if fields.vocabulary:
        path = local_path("config.import_model.vocabulary", fields.vocabulary)
        tokens = (
            _first_appearances(path, config.data.level)
            if path.is_dir()
            else token_list.read_tokens(path)
        )
    elif "vocabulary" in weights.metadata:
        tokens = token_list.parse_tokens(
            f"vocabulary in {fields.path}", weights.metadata["vocabulary"]
        )
    else:
        raise InputError(
            f"weights {fields.path}",
            "have no vocabulary with them",
            "give one as --config.import_model.vocabulary: a JSON list, a text file with a token "
            "a line, or the directory of the corpus that it was trained on with awd-lstm-lm",
        )
    for name, given, known in (
        (EOS, fields.eos_token, _EOS_NAMES),
        (UNK, fields.unk_token, _UNK_NAMES),
    ):
        if given and given not in tokens:
            raise InputError(
                f"token {given!r}", f"is to be {name} and is not in the vocabulary", "name another"
            )
        tokens = token_list.rename_token(tokens, (given,) if given else known, name)
    if EOS not in tokens:
        raise InputError(
            f"vocabulary of {len(tokens):,} tokens",
            f"has neither {' nor '.join(_EOS_NAMES)}",
            "name the token between two texts as --config.import_model.eos_token",
        )
    return Vocabulary(token_list.number_padding(tokens))


def _first_appearances(directory: Path, level: str) -> tuple[str, ...]:
    splits = find_splits(directory, level, (PLAIN_LAYOUT,))
    if splits is None:
        raise InputError(
            f"directory {directory}",
            "lacks files of the corpus",
            f"put {file_names((PLAIN_LAYOUT,))} there",
        )
    counts: Counter[str] = Counter()
    for text in splits:
        counts.update(count_tokens(text))
    return tuple(counts)
