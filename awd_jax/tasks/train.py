"""Trains a model, or goes on training it, and tests the best one."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus
from awd_jax.tasks.best_model import BestModel
from awd_jax.tasks.draw import generate_sentences
from awd_jax.tasks.result import write_result
from awd_jax.train.checkpoint import Checkpoints
from awd_jax.train.checksum import checksum_arrays, checksum_json
from awd_jax.train.devices import check_backend, check_batch, choose_devices
from awd_jax.train.interruption import Interruption
from awd_jax.train.loop import Trainer
from awd_jax.train.meta import Identity
from awd_jax.train.report import Report, describe_nll
from awd_jax.train.streams import make_streams, read_corpus
from awd_jax.train.workdir import CHECKPOINTS, describe, open_workdir


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains from where the workdir stands; writes checkpoints, logs and result.json there.

    Raises:
      InputError: before anything is written: a corpus that cannot be read or is
        shorter than a batch, devices that do not divide the batch, a workdir of
        another run, or one in use. Or: no checkpoint of the workdir can be used.
      RunError: as `Trainer.train`.
    """
    run_training(config, workdir, read_corpus(config.data))


def run_training(
    config: ConfigDict, workdir: Path, corpus: Corpus, base: BestModel | None = None
) -> None:
    """`train` on a corpus that has been read; finetunes where there is a `base`."""
    streams = make_streams(config.train, corpus)
    devices = choose_devices(config.train)
    check_batch(config.train, len(devices))
    check_backend(config.model)
    fields = describe(config, corpus)
    if base is not None:
        crc32 = checksum_json(checksum_arrays(jax.device_get(base.params)))
        fields["base"] = f"step {base.step}, crc32 {crc32:08x}"
    identity = Identity(fields, corpus.vocabulary.tokens)
    with (
        open_workdir(workdir, fields),
        Interruption() as interruption,
        Report(workdir) as report,
        Checkpoints(workdir / CHECKPOINTS, identity) as checkpoints,
    ):
        counts = ", ".join(f"{s} {len(getattr(corpus, s)):,}" for s in streams._fields)
        report.say(f"{corpus.name}: {counts} tokens, {len(corpus.vocabulary):,} kinds")
        for note in corpus.notes:
            report.say(note)
        trained = Trainer(
            config,
            corpus,
            streams,
            devices,
            report,
            checkpoints,
            interruption,
            base=None if base is None else base.params,
        ).train()
        write_result(workdir, "result", corpus, trained.valid_nll, trained.test_nll)
        report.say(f"best model | valid {describe_nll(trained.valid_nll, corpus.level)}")
        report.say(f"best model | test {describe_nll(trained.test_nll, corpus.level)}")
        if corpus.entropy is not None:
            report.say(f"the source itself | {describe_nll(corpus.entropy, corpus.level)}")
        if config.train.num_samples:
            samples = generate_sentences(
                trained.model,
                trained.params,
                corpus,
                config.train.num_samples,
                config.train.seed,
            )
            for sentence in samples:
                report.say(f"> {sentence}")
