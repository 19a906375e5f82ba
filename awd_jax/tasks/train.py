"""Trains a model, or goes on training it, and tests the best one."""

from pathlib import Path

import jax
from ml_collections import ConfigDict

from awd_jax.data.corpus import Corpus
from awd_jax.run import processes
from awd_jax.run.checkpoint import Checkpoints
from awd_jax.run.manifest import Identity, by_path, checksum_arrays, checksum_json
from awd_jax.run.replicas import choose_replicas
from awd_jax.run.report import Report, describe_nll
from awd_jax.run.stops import Interruption
from awd_jax.run.workdir import CHECKPOINTS, describe, open_workdir
from awd_jax.tasks.draw import generate_sentences
from awd_jax.tasks.model_file import BestModel
from awd_jax.tasks.result import as_result, write_json
from awd_jax.train.backend import check_backend
from awd_jax.train.loop import Trained, Trainer
from awd_jax.train.streams import fingerprint, make_streams, read_corpus


def train(config: ConfigDict, workdir: Path) -> None:
    """Trains from where the workdir stands; writes checkpoints, logs and result.json there.

    Raises:
      InputError: before anything is written: a corpus that cannot be read or is
        shorter than a batch, devices that do not divide the batch, a workdir of
        another run, or one in use. Or: no checkpoint of the workdir can be used.
      RunError: as `Trainer.train`.
    """
    with processes.together():
        corpus = read_corpus(config.data)
    run_training(config, workdir, corpus)


def run_training(
    config: ConfigDict, workdir: Path, corpus: Corpus, base: BestModel | None = None
) -> None:
    """`train` on a corpus that has been read; finetunes where there is a `base`."""
    with processes.together():
        replicas = choose_replicas(config.train)
        replicas.check_batch(config.train)
        check_backend(config.model)
        streams = make_streams(config.train, corpus)
    fields = describe(config, fingerprint(corpus))
    processes.check_same(fields, but=("data.dir",))
    if base is not None:
        crc32 = checksum_json(checksum_arrays(by_path(jax.device_get(base.params))))
        fields["base"] = f"step {base.step}, crc32 {crc32:08x}"
    identity = Identity(fields, corpus.vocabulary.tokens)
    with (
        open_workdir(workdir, fields),
        Report(workdir) as report,
        Interruption() as interruption,
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
            replicas,
            report,
            checkpoints,
            interruption,
            base=None if base is None else base.params,
        ).train()
        with processes.together():
            if processes.is_first():
                result = as_result(corpus, trained.valid_nll, trained.test_nll)
                write_json(workdir, "result", result)
        if processes.is_first():
            _report_result(config, corpus, trained, report)


def _report_result(config: ConfigDict, corpus: Corpus, trained: Trained, report: Report) -> None:
    report.say(f"best model | valid {describe_nll(trained.valid_nll, corpus.level)}")
    report.say(f"best model | test {describe_nll(trained.test_nll, corpus.level)}")
    if corpus.entropy is not None:
        report.say(f"the source itself | {describe_nll(corpus.entropy, corpus.level)}")
    if config.train.num_samples:
        samples = generate_sentences(
            trained.model, trained.params, corpus, config.train.num_samples, config.train.seed
        )
        for sentence in samples:
            report.say(f"> {sentence}")
