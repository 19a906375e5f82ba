"""The tasks of the command, each a function of (config, workdir)."""

from awd_jax.tasks.align import align
from awd_jax.tasks.cache import cache
from awd_jax.tasks.classify import classify
from awd_jax.tasks.dynamic import dynamic
from awd_jax.tasks.evaluate import evaluate
from awd_jax.tasks.export_model import export_model
from awd_jax.tasks.finetune import finetune
from awd_jax.tasks.generate import generate
from awd_jax.tasks.import_model import import_model
from awd_jax.tasks.plot import plot
from awd_jax.tasks.predict import predict
from awd_jax.tasks.score import score
from awd_jax.tasks.train import train
from awd_jax.tasks.translate import translate
from awd_jax.tasks.tune import tune_cache, tune_dynamic
from awd_jax.tasks.tune_temperature import tune_temperature

TASKS = {
    "train": train,
    "evaluate": evaluate,
    "finetune": finetune,
    "classify": classify,
    "predict": predict,
    "generate": generate,
    "score": score,
    "translate": translate,
    "align": align,
    "plot": plot,
    "cache": cache,
    "dynamic": dynamic,
    "tune_cache": tune_cache,
    "tune_dynamic": tune_dynamic,
    "tune_temperature": tune_temperature,
    "import_model": import_model,
    "export_model": export_model,
}

SHARED_TASKS = (
    "train",
    "finetune",
    "classify",
    "evaluate",
)  # tasks that several processes can run together
