"""The result of a task as a file."""

import json
import math
from pathlib import Path

from awd_jax.data.corpus import Corpus


def write_result(
    workdir: Path, name: str, corpus: Corpus, valid_nll: float, test_nll: float
) -> None:
    """Writes WORKDIR/NAME.json: nats, and perplexity or bits, per token."""
    result = {}
    for split, nll in (("valid", valid_nll), ("test", test_nll)):
        result[f"{split}_nll"] = nll
        result[f"{split}_perplexity"] = math.exp(nll)
        result[f"{split}_bits"] = nll / math.log(2)
    if corpus.entropy is not None:
        result["source_nll"] = corpus.entropy
        result["source_perplexity"] = math.exp(corpus.entropy)
    part = workdir / f"{name}.json.part"
    part.write_text(json.dumps(result, indent=2) + "\n")
    part.replace(workdir / f"{name}.json")
