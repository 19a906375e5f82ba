"""Writes the best model of a workdir for other programs."""

import json
from pathlib import Path

import jax
from ml_collections import ConfigDict

from awd_jax import output
from awd_jax.errors import InputError, one_line
from awd_jax.files import local_path, whole_file
from awd_jax.interchange.params import flatten_params
from awd_jax.interchange.stablehlo import export_program
from awd_jax.interchange.torch_layout import to_torch
from awd_jax.interchange.weights_file import write_safetensors
from awd_jax.recipe import flatten
from awd_jax.tasks.model_file import load_best_model
from awd_jax.tasks.results import leave_json

# What a model of awd-lstm-lm is.
PLAIN = {
    "name": "recurrent",
    "cell": "lstm",
    "softmax": "tied",
    "residual": False,
    "sum_outputs": False,
    "cap_input_gate": False,
}


def export_model(config: ConfigDict, workdir: Path) -> None:
    """Exports the best model as `export_model.format`, each file whole or not at all.

    `safetensors`: model.safetensors, the parameters under our names, with config and vocabulary as
    JSON in the metadata; `import_model` reads it. `torch`: awd_lstm_lm.safetensors, the same with
    the names and shapes of awd-lstm-lm's state_dict. `stablehlo`: model.stablehlo, a program that
    jax runs without this package, and the model.safetensors that holds its parameters.

    Raises:
      InputError: the workdir holds no finished epoch of this model, the format cannot express it,
        or the directory cannot be written.
    """
    model = config.model
    if config.export_model.format == "torch" and any(
        n not in model or model[n] != v for n, v in PLAIN.items()
    ):
        raise InputError(
            "config.export_model.format = torch",
            "is for the plain LSTM, and config.model has "
            + ", ".join(f"{name} = {model[name]}" for name in PLAIN if name in model),
            "export as safetensors or stablehlo",
        )
    best = load_best_model(config, workdir)
    params = flatten_params(jax.device_get(best.params))
    described = {
        name: value
        for name, value in flatten(config).items()
        if name in ("name", "data.level", "data.backward") or name.startswith("model.")
    }
    metadata = {
        "level": best.level,
        "config": json.dumps(described),
        "vocabulary": json.dumps(best.vocabulary.tokens),
    }
    given = config.export_model.dir
    directory = local_path("config.export_model.dir", given) if given else workdir / "export"
    written = []
    try:
        directory.mkdir(parents=True, exist_ok=True)
        if config.export_model.format == "torch":
            written.append(directory / "awd_lstm_lm.safetensors")
            write_safetensors(written[-1], to_torch(params), metadata)
        else:
            written.append(directory / "model.safetensors")
            write_safetensors(written[-1], params, metadata)
        if config.export_model.format == "stablehlo":
            written.append(directory / "model.stablehlo")
            with whole_file(written[-1]) as file:
                file.write(export_program(best.model))
    except OSError as error:
        raise InputError(
            f"directory {directory}",
            f"cannot be written ({one_line(error)})",
            "give another one as --config.export_model.dir",
        ) from error
    sizes = {str(path): path.stat().st_size for path in written}
    leave_json(workdir, "export_model", {"step": best.step, "bytes": sizes})
    for path, size in sizes.items():
        output.say(f"{path} | {size:,} bytes")
