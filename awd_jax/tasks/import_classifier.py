"""Imports a classifier that was trained elsewhere into a workdir."""

import math
from pathlib import Path

import jax
import jax.numpy as jnp
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.errors import InputError
from awd_jax.files import local_path
from awd_jax.interchange.classifier_layout import from_classifier
from awd_jax.interchange.params import check_params, flat_shapes, unflatten_params
from awd_jax.interchange.token_list import read_list
from awd_jax.interchange.weights_file import read_weights
from awd_jax.run.manifest import Identity
from awd_jax.run.workdir import describe
from awd_jax.tasks.foreign_vocabulary import read_vocabulary
from awd_jax.tasks.results import leave_json
from awd_jax.tasks.save_model import save_model
from awd_jax.train.backend import check_backend
from awd_jax.train.problem import make_model


def import_classifier(config: ConfigDict, workdir: Path) -> None:
    """Imports fastai's text classifier, with the vocabulary and the labels in files beside it.

    There are no texts to evaluate it on: it is ranked like the uniform distribution.

    Raises:
      InputError: before anything is written: a file cannot be read or belongs to another model.
    """
    fields = config.import_model
    if fields.tokens != "file":
        raise InputError(
            f"config.import_model.tokens = {fields.tokens}",
            "is for language models: a classifier keeps its tokens",
            "leave --config.import_model.tokens out",
        )
    check_backend(config.model)
    path = local_path("config.import_model.path", fields.path)
    place, weights = f"weights {path}", read_weights(path)
    params, names = from_classifier(place, weights.arrays)
    vocabulary = read_vocabulary(config, weights)
    fix = "give a JSON list of its labels, or a text file with one a line, in their order"
    if not fields.labels:
        raise InputError("config.import_model.labels = ''", "is needed for a classifier", fix)
    labels_path = local_path("config.import_model.labels", fields.labels)
    place_of_labels = f"labels {labels_path}"
    labels = read_list(place_of_labels, labels_path, fix)
    if len(set(labels)) < len(labels):
        raise InputError(place_of_labels, "has a label more than once", fix)
    model = make_model(config.model, len(vocabulary), num_classes=len(labels))
    check_params(place, params, flat_shapes(model), names)
    arrays = jax.tree.map(jnp.asarray, unflatten_params(params))
    identity = Identity(describe(config, {}), vocabulary.tokens, labels=tuple(labels))
    save_model(config, workdir, model, arrays, identity, math.log(len(labels)))
    num_params = sum(p.size for p in jax.tree.leaves(arrays))
    result = {"path": fields.path, "num_params": num_params, "num_tokens": len(vocabulary)}
    leave_json(workdir, "import_model", result | {"labels": list(labels)})
    output.say(
        f"{num_params:,} parameters, {len(vocabulary):,} kinds of tokens, {len(labels)} labels"
    )
