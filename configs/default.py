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

    config.optimizer = optimizer = ConfigDict()
    optimizer.name = "sgd"  # sgd or adam
    optimizer.learning_rate = 30.0  # of a window of bptt tokens; a window's own is * length / bptt
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
