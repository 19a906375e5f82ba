"""Every field with its default, unit and meaning. A recipe changes what it needs."""

from ml_collections import ConfigDict


def get_config(variant: str = "") -> ConfigDict:
    """The defaults. A variant is given as `--config=configs/NAME.py:VARIANT`."""
    config = ConfigDict()
    config.name = "default"  # of the run: its workdir is runs/<name> unless --workdir is given

    config.data = data = ConfigDict()
    data.corpus = "text"  # ptb, ptb_char, wikitext2, wikitext103, enwik8, synthetic, or text:
    data.dir = ""  # a directory with train.txt, valid.txt, test.txt; "" looks the corpus up
    data.level = "word"  # what a token is: word, char or byte
    data.vocabulary = "train"  # tokens of train (others are <unk>), or of all three splits
    data.max_tokens = 0  # read only so many tokens of each split; 0 reads all

    config.model = model = ConfigDict()
    model.embed_dim = 400  # features of the embedding, and of the last layer
    model.hidden_dim = 1150  # features of the other layers
    model.num_layers = 3
    # Drop probabilities in [0, 1); every mask is drawn once per window.
    model.embed_dropout_rate = 0.1  # whole word types, at the look-up
    model.input_dropout_rate = 0.4  # locked, after the embedding
    model.hidden_dropout_rate = 0.25  # locked, between the layers
    model.output_dropout_rate = 0.4  # locked, after the last layer
    model.weight_drop_rate = 0.5  # single weights of w_h
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    model.lstm_backend = "auto"  # scan, fast, cudnn; auto is cudnn on a GPU with float32, else fast
    model.dtype = (
        "float32"  # or bfloat16: of activations and products; parameters, averages, loss: float32
    )

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "sgd"  # sgd or adam
    optimizer.learning_rate = 30.0  # of a window of bptt tokens; a window's own is * length / bptt
    # Sequences of the batch that has this rate, that of another being in proportion; 0: any has it.
    optimizer.base_batch_size = 0
    optimizer.max_grad_norm = 0.25  # clip the global norm of the gradient, before weight decay
    optimizer.weight_decay = 1.2e-6  # L2: this times the parameters joins the clipped gradient
    optimizer.decay_epochs = ()  # after each of these epochs the rate is divided by 10
    optimizer.averaging = True  # NT-ASGD: average the iterates once validation stops improving
    optimizer.nonmono = 5  # how many of the latest validation losses the trigger passes over

    config.train = train = ConfigDict()
    train.seed = 0
    train.batch_size = 20  # sequences side by side, over all devices
    train.bptt = 70  # mean window length in tokens (half of it with probability 0.05)
    train.num_epochs = 500
    train.activation_reg = 2.0  # alpha of AR
    train.temporal_activation_reg = 1.0  # beta of TAR
    train.valid_batch_size = 10  # sequences side by side on the validation split
    train.test_batch_size = 1  # and on the test split
    train.evaluate_raw = False  # once averaging, validate the raw iterates too
    train.num_devices = 0  # devices of this process to use; 0 uses all
    train.log_steps = 200  # windows between two lines of the metrics log
    train.checkpoint_minutes = 10.0  # between two checkpoints within an epoch
    train.checkpoint_steps = 0  # windows between two of them; 0 leaves it to the minutes
    train.num_samples = 0  # sentences to generate with the best model at the end

    config.cache = cache = ConfigDict()  # --task=cache, --task=dynamic
    cache.window = 500  # W, the latest positions that the cache points to
    cache.theta = 1.0  # how much a larger product of features weighs
    cache.lamb = 0.1  # share of the cache in the mixture, in [0, 1)

    config.dynamic = dynamic = ConfigDict()  # --task=dynamic
    dynamic.learning_rate = 5e-5  # of the gradient over its usual size
    dynamic.lamb = 2e-3  # decay back to the trained parameters
    dynamic.eps = 2e-5  # joins the usual size of a gradient
    dynamic.segment = 5  # tokens scored, then learnt from
    dynamic.batch_size = 100  # sequences side by side when train tells the usual size

    config.tune_cache = tune_cache = ConfigDict()  # every combination, on valid
    tune_cache.windows = (100, 500, 2000, 4000)
    tune_cache.thetas = (0.3, 0.6, 1.0, 2.0, 4.0)
    tune_cache.lambs = (0.05, 0.1, 0.15, 0.2, 0.3)

    config.tune_dynamic = tune_dynamic = ConfigDict()  # every combination, a pass over valid each
    tune_dynamic.learning_rates = (3e-5, 4e-5, 5e-5, 6e-5, 7e-5, 1e-4)
    tune_dynamic.lambs = (1e-3, 2e-3, 3e-3, 5e-3)
    tune_dynamic.epsilons = (2e-5,)
    tune_dynamic.max_tokens = 0  # use only the first so many of valid; 0 uses all

    config.generate = generate = ConfigDict()
    generate.prompt = ""  # what the text begins with, after the end of a line
    generate.num_tokens = 100  # to draw after it; <eos> is one, and ends a line
    generate.num_samples = 1  # texts, drawn side by side
    generate.method = "sample"  # sample, greedy or beam
    generate.temperature = 1.0  # of sample: below 1 makes probable tokens more probable
    generate.top_k = 0  # of sample: draw from so many of the most probable tokens; 0 from all
    generate.top_p = 1.0  # of sample: or from as many as have this probability together
    generate.beam_size = 5  # of beam: continuations kept at each step
    generate.seed = 0  # of sample
    generate.until_eos = False  # end each text at its first <eos>
    generate.forbid_unk = False  # never draw <unk>

    config.score = score = ConfigDict()
    score.input = "-"  # a text file; "-" for standard input
    score.output = ""  # a file; "" for standard output
    score.format = "tsv"  # tsv or jsonl, one line for each line of the input
    score.per_token = False  # also give the tokens of a line, and the log-probability of each
    score.carry = False  # each line after all lines before it; else each by itself
    score.batch_size = 8  # lines side by side, without carry; a GPU wants more

    config.import_model = import_model = ConfigDict()
    import_model.path = ""  # weights: .safetensors, or a state_dict saved by torch
    # Its tokens by id: a JSON list, a text file with one a line, or the directory of a corpus, for
    # its tokens by first appearance (awd-lstm-lm); "" for those in a file of export_model.
    import_model.vocabulary = ""
    # Whose tokens the model gets: "file", or "corpus", the config's, with the rows moved to its
    # ids and the mean row for a new token; then it is evaluated and can be trained on.
    import_model.tokens = "file"
    import_model.eos_token = ""  # what the file calls <eos>; "" for <eos> or xxbos
    import_model.unk_token = ""  # what it calls <unk>; "" for <unk>, xxunk or _unk_

    config.export_model = export_model = ConfigDict()
    export_model.format = "safetensors"  # safetensors, torch (awd-lstm-lm's names) or stablehlo
    export_model.dir = ""  # where the files go; "" for WORKDIR/export

    return apply_variant(config, variant)


def apply_variant(config: ConfigDict, variant: str) -> ConfigDict:
    """Shrinks a recipe where asked.

    `smoke` trains a tiny model for two epochs on a few thousand tokens: of the
    built-in corpus, or of `data.dir` where that is given.

    Raises:
      ValueError: an unknown variant.
    """
    if variant == "":
        return config
    if variant != "smoke":
        raise ValueError(f"config variant '{variant}': must be 'smoke' or none")
    config.name += "-smoke"
    config.data.corpus = "synthetic"
    config.data.max_tokens = 4000
    config.model.embed_dim = 16
    config.model.hidden_dim = 24
    config.train.batch_size = 8
    config.train.bptt = 16
    config.train.num_epochs = 2
    config.train.valid_batch_size = 4
    config.train.log_steps = 10
    return config
