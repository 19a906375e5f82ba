"""Every field with its default, unit and meaning. A recipe changes what it needs."""

from ml_collections import ConfigDict

from configs import corpora, models


def get_config(variant: str = "") -> ConfigDict:
    """Returns the defaults. Select a variant by `--config=configs/NAME.py:VARIANT`."""
    config = ConfigDict()
    config.name = "default"  # of the run, whose workdir is runs/<name> unless --workdir is given

    config.data = corpora.text()  # or another of configs/corpora.py
    config.model = models.recurrent()  # or another of configs/models.py

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "sgd"  # sgd or adam
    optimizer.adam_beta1 = 0.9  # adam: decay of the mean gradient; 0 takes the gradient itself
    optimizer.adam_beta2 = 0.999  # adam: decay of the mean square
    optimizer.learning_rate = 30.0  # for bptt tokens; a window's rate is * length / bptt
    # Batch size that this rate is meant for; another batch scales it in proportion. 0: no scaling.
    optimizer.base_batch_size = 0
    optimizer.max_grad_norm = 0.25  # clip the global norm of the gradient, before weight decay
    optimizer.weight_decay = 1.2e-6  # L2: adds this times the parameters to the clipped gradient
    # A factor of the rate that every update changes: constant; cosine, from 1 down to
    # final_rate_factor at update schedule_steps; inverse_sqrt, (warmup_steps / update)^(1/2);
    # halving, 1 and in the second half of schedule_steps halved num_halvings times; slanted, from
    # 1/32 up to 1 in a tenth of all updates of the run, and down again in the rest.
    optimizer.schedule = "constant"
    optimizer.warmup_steps = 0  # updates in which it rises in proportion to 1, before all that
    optimizer.schedule_steps = 0  # cosine, halving: updates, warm-up included
    optimizer.num_halvings = 0  # halving: how often, the last time at the end
    optimizer.final_rate_factor = 0.0  # cosine: at the end, and after it
    optimizer.embed_rate_factor = 1.0  # the rate of the embedding is that of the others times this
    # recurrent, classifier: the rate of the embedding, and of each layer, is that of the layer
    # above times this. All that is above the layers has the rate itself.
    optimizer.layer_rate_factor = 1.0
    # recurrent, classifier: only what is above the layers is trained at first, and after each so
    # many epochs one more layer, from the last one down; 0: all from the start.
    optimizer.thaw_epochs = 0
    optimizer.decay_epochs = ()  # after each of these epochs the rate is divided by 10
    optimizer.plateau_factor = 1.0  # the rate is multiplied by this when valid is no new best
    optimizer.averaging = True  # NT-ASGD: average the iterates once validation stops improving
    optimizer.nonmono = 5  # the trigger leaves out this many of the latest validation losses

    config.train = train = ConfigDict()
    train.seed = 0
    train.batch_size = 20  # parallel sequences, over all devices
    train.bptt = (
        70  # language models: mean window length in tokens (half of it with probability 0.05)
    )
    train.random_windows = True  # language models: random window lengths; False: always bptt
    train.num_epochs = 500
    train.activation_reg = 2.0  # alpha of AR
    train.temporal_activation_reg = 1.0  # beta of TAR
    train.valid_batch_size = 10  # parallel sequences on the validation split
    train.test_batch_size = 1  # and on the test split
    # What to measure of valid after each epoch and of test at the end. Sequence to sequence, of
    # greedy translations: exact_match, token_accuracy; bleu, chrf (which need sacrebleu).
    # Classifier: accuracy, f1. Bits: wrong_bits.
    train.measures = ()
    # The best epoch, trigger and plateaus go by nll, or by one of measures; a tie is no new best.
    train.best_by = "nll"
    train.evaluate_raw = False  # once averaging has begun, also validate the raw iterates
    train.num_devices = 0  # devices of this process to use; 0 uses all
    train.log_steps = 200  # windows between two lines of the metrics log
    train.checkpoint_minutes = 10.0  # between two checkpoints within an epoch
    train.checkpoint_steps = 0  # windows between two checkpoints; 0: only the minutes count
    train.num_samples = 0  # sentences to generate with the best model at the end

    config.cache = cache = ConfigDict()  # --task=cache, --task=dynamic
    cache.window = 500  # W: the latest positions that the cache points to
    cache.theta = 1.0  # scales the products of features; a larger one sharpens the cache
    cache.lamb = 0.1  # share of the cache in the mixture, in [0, 1)

    config.dynamic = dynamic = ConfigDict()  # --task=dynamic
    dynamic.learning_rate = 5e-5  # for the gradient divided by its usual size
    dynamic.lamb = 2e-3  # decay back to the trained parameters
    dynamic.eps = 2e-5  # added to the usual size of a gradient
    dynamic.segment = 5  # tokens that are scored, then learned from
    dynamic.batch_size = 100  # parallel sequences to find the usual size on train

    config.tune_cache = tune_cache = ConfigDict()  # every combination is tried on valid
    tune_cache.windows = (100, 500, 2000, 4000)
    tune_cache.thetas = (0.3, 0.6, 1.0, 2.0, 4.0)
    tune_cache.lambs = (0.05, 0.1, 0.15, 0.2, 0.3)

    config.tune_dynamic = tune_dynamic = ConfigDict()  # each combination is a pass over valid
    tune_dynamic.learning_rates = (3e-5, 4e-5, 5e-5, 6e-5, 7e-5, 1e-4)
    tune_dynamic.lambs = (1e-3, 2e-3, 3e-3, 5e-3)
    tune_dynamic.epsilons = (2e-5,)
    tune_dynamic.max_tokens = 0  # use only this many tokens of valid; 0 uses all

    config.tune_temperature = tune_temperature = ConfigDict()  # each is tried on valid
    tune_temperature.temperatures = tuple(n / 100 for n in range(94, 128, 2))  # 1: unchanged

    config.generate = generate = ConfigDict()
    generate.prompt = ""  # the text begins with this, at the start of a line
    generate.num_tokens = 100  # to draw after the prompt; <eos> counts, and ends a line
    generate.num_samples = 1  # texts, drawn in parallel
    generate.method = "sample"  # sample, greedy or beam
    generate.temperature = 1.0  # sample: below 1 makes probable tokens more probable
    generate.top_k = 0  # sample: draw from this many of the most probable tokens; 0: from all
    generate.top_p = 1.0  # sample: draw from the fewest tokens that together have this probability
    generate.beam_size = 5  # beam: continuations kept at each step
    generate.seed = 0  # sample: seed of the draws
    generate.until_eos = False  # end each text at its first <eos>
    generate.forbid_unk = False  # never draw <unk>

    config.score = score = ConfigDict()
    score.input = "-"  # a text file; "-" for standard input
    score.output = ""  # a file; "" for standard output
    score.format = "tsv"  # tsv or jsonl, one line for each line of the input
    score.per_token = False  # also give the tokens of a line, and the log-probability of each
    score.carry = False  # score each line after all previous lines; False: on its own
    score.batch_size = 8  # parallel lines, without carry; raise it on a GPU

    config.translate = translate = ConfigDict()
    translate.input = "-"  # a text file, one source a line; "-" for standard input
    translate.output = ""  # a file; "" for standard output
    translate.format = "tsv"  # tsv or jsonl, one line for each translation
    translate.method = "beam"  # sample, greedy or beam
    translate.num_tokens = 100  # of the longest translation, with its <eos>
    translate.beam_size = 5  # beam: translations kept at each step
    translate.num_best = 1  # beam: translations of each source, best first
    # beam: translations are ranked by log P / ((5 + tokens) / 6)^length_penalty
    # + coverage_penalty * sum over source tokens of log(min(the attention it has had, 1)).
    translate.length_penalty = 0.6
    translate.coverage_penalty = 0.0
    translate.temperature = 1.0  # sample: below 1 makes probable tokens more probable
    translate.top_k = 0  # sample: draw from this many of the most probable tokens; 0: from all
    translate.top_p = 1.0  # sample: draw from the fewest tokens that together have this probability
    translate.seed = 0  # sample: seed of the draws
    translate.forbid_unk = True  # never draw <unk>
    translate.attention = False  # jsonl: also give the attention of each token to each of a source
    translate.batch_size = 64  # parallel sources

    config.predict = predict = ConfigDict()
    predict.input = "-"  # a text file, one text a line; "-" for standard input
    predict.output = ""  # a file; "" for standard output
    predict.format = "tsv"  # tsv or jsonl, which has the probabilities of all labels
    predict.also = ""  # the workdir of another classifier, whose probabilities count as much
    predict.batch_size = 64  # parallel texts

    config.align = align = ConfigDict()
    align.input = ""  # a text file; each line a source, or a source, a tab and its target
    align.num_pairs = 4  # draw this many of the first lines

    config.plot = plot = ConfigDict()
    plot.also = ""  # workdirs of other runs to draw, with commas between them

    config.import_model = import_model = ConfigDict()
    import_model.path = ""  # weights: .safetensors, or a state_dict saved by torch
    # Its tokens in the order of their ids: a JSON list, a text file with one per line, or the
    # directory of a corpus (by first appearance, as in awd-lstm-lm); "" if export_model wrote it.
    import_model.vocabulary = ""
    import_model.labels = ""  # of a classifier: a JSON list, or a text file with one per line
    # "file" keeps its tokens. "corpus" takes those of the config's corpus: rows move to their new
    # ids, new tokens get the mean row. The model is then evaluated, and can be trained further.
    import_model.tokens = "file"
    import_model.eos_token = ""  # what the file calls <eos>; "" for <eos> or xxbos
    import_model.unk_token = ""  # what it calls <unk>; "" for <unk>, xxunk or _unk_

    config.export_model = export_model = ConfigDict()
    export_model.format = "safetensors"  # safetensors, torch (awd-lstm-lm's names) or stablehlo
    export_model.dir = ""  # where the files go; "" for WORKDIR/export

    return apply_variant(config, variant)


def apply_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """Returns a variant of a recipe, which it changes in place; "" changes nothing.

    `smoke` trains a tiny model for two epochs on a few thousand tokens of the built-in corpus, or
    on some generated pairs; or on data of `data.dir` if that is given.

    Raises:
      ValueError: an unknown variant.
    """
    if variant == "":
        return config
    if variant != "smoke":
        raise ValueError(f"config variant '{variant}': must be 'smoke' or none")
    config.name += "-smoke"
    corpora.shrink(config.data)
    models.shrink(config.model)
    config.optimizer.warmup_steps = min(config.optimizer.warmup_steps, 5)
    config.optimizer.schedule_steps = min(config.optimizer.schedule_steps, 100)
    config.optimizer.num_halvings = min(config.optimizer.num_halvings, 5)
    config.train.batch_size = 8
    config.train.bptt = 16
    config.train.num_epochs = 2
    config.train.valid_batch_size = 4
    config.train.log_steps = 10
    return config
