"""The fields of each model with their defaults, units and meaning."""

from ml_collections import ConfigDict


def _of_every_model(name: str) -> ConfigDict:
    """Returns the fields of a softmax, of dropout and of arithmetic, of all models but bits."""
    model = ConfigDict()
    model.name = name
    # tied: the embedding is the softmax's matrix; separate: it has its own; mixture: of several
    # tied ones; adaptive: by clusters of tokens, for large vocabularies.
    model.softmax = "tied"
    model.num_components = 0  # mixture: softmaxes, K
    model.cutoffs = ()  # adaptive: first id of each cluster but the first; ids fall in frequency
    model.div_val = 1  # adaptive: vectors of cluster k have embed_dim / div_val^k features
    model.untie_first_projection = False  # adaptive: the softmax has its own first projection
    # Drop probabilities in [0, 1); every mask is drawn before the window.
    model.dropout_kind = "locked"  # one mask for all steps; elementwise: one per step
    model.latent_dropout_rate = 0.0  # mixture: the latents; always locked
    # float32 or bfloat16: activations and products. Parameters, averages and losses are float32.
    model.dtype = "float32"
    return model


def _of_cells(name: str) -> ConfigDict:
    """Returns the fields of a cell as well, which has its options on every layer and side."""
    model = _of_every_model(name)
    _add_cell(model)
    return model


def _add_cell(model: ConfigDict) -> None:
    """Adds the fields of a cell."""
    # lstm, gru, cho_gru (reset before the product), rnn (tanh), qrnn, mogrifier (an LSTM), ntm (an
    # LSTM with a memory)
    model.cell = "lstm"
    # scan, fast, cudnn, or associative (for a qrnn); auto: cudnn for a float32 LSTM on a GPU, else
    # fast if the cell has it, else scan; for a qrnn scan on a CPU, else associative.
    model.backend = "auto"
    model.forget_gate_bias = 0.0  # added to the initial bias of an LSTM's forget gate
    model.cap_input_gate = False  # an LSTM's input gate is at most 1 minus its forget gate
    model.mogrifier_rounds = 0  # mogrifier: gates between x and h before each step
    model.mogrifier_rank = 0  # mogrifier: of the matrices of these gates
    model.filter_width = 1  # qrnn: inputs that a step of the first layer (of a side) reads: 1 or 2
    model.memory_rows = 0  # ntm: of the memory of a layer
    # ntm: features of a row; a layer's features are what its heads read and, before it, its LSTM's.
    model.memory_dim = 0
    model.memory_heads = 1  # ntm: heads that read the memory, and as many that write it
    model.max_shift = 1  # ntm: the most rows by which a head moves in a step


def recurrent() -> ConfigDict:
    """Returns the fields of a recurrent language model, as for the AWD-LSTM on Penn Treebank."""
    model = _of_cells("recurrent")
    model.embed_dim = 400  # features of the embedding
    model.hidden_dim = 1150  # features of the other layers
    model.num_layers = 3
    model.last_hidden_dim = 0  # features of the last layer; 0: embed_dim, as tied and adaptive need
    model.residual = False  # add a layer's input to its output if equally wide
    model.sum_outputs = False  # features are the sum of all layers' outputs, not the last one's
    # Drop probabilities, as are all rates.
    model.embed_dropout_rate = 0.1  # whole word types, at the look-up
    model.input_dropout_rate = 0.4  # after the embedding
    model.hidden_dropout_rate = 0.25  # between the layers
    model.output_dropout_rate = 0.4  # after the last layer
    model.state_dropout_rate = 0.0  # h where it enters the recurrent products; always locked
    model.weight_drop_rate = 0.5  # single weights of w_h; of a QRNN, all but its biases
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    return model


def transformer() -> ConfigDict:
    """Returns the fields of a Transformer-XL, as for Penn Treebank; see also `plain`."""
    model = _of_every_model("transformer")
    # relative (Transformer-XL), or absolute: the text falls into segments, of a window in training
    # and of eval_memory_length tokens in evaluation.
    model.positions = "relative"
    model.embed_dim = 400  # features of the embedding and of every layer
    model.num_layers = 12
    model.num_heads = 10
    model.head_dim = 40  # features of a head
    model.inner_dim = 1024  # features between the two products of a layer
    model.share_biases = True  # relative: u and v are the same in all layers
    model.norm_first = False  # norms come before attention and products, not after the sums
    model.memory_length = 70  # M: tokens before the window that a layer reads, in training
    model.clamp_length = 0  # relative: larger distances count as this one, in training; 0: none
    model.same_length = False  # relative: in training each token sees the M latest, and not more
    # In evaluation and all tasks after training, each token sees this many, its own among them.
    model.eval_memory_length = 280
    model.eval_clamp_length = 0  # relative: as clamp_length, in evaluation
    # Drop probabilities, as are all rates.
    model.embed_dropout_rate = 0.15  # whole word types, at the look-up
    model.input_dropout_rate = 0.65  # after the embedding, and of relative positions
    model.attention_dropout_rate = 0.3  # of the weights of attention; always one per step
    model.attended_dropout_rate = 0.3  # of what attention puts out
    model.feedforward_dropout_rate = 0.25  # after each of the two products of a layer
    model.output_dropout_rate = 0.6  # after the last layer
    model.weight_drop_rate = 0.0  # single weights, of w_q, w_k, w_v and w_r
    return model


def plain(model: ConfigDict, segment: int) -> None:
    """Makes a Transformer-XL the plain Transformer, whose segments in evaluation are this long."""
    model.positions = "absolute"
    model.memory_length = 0
    model.eval_memory_length = segment


def seq2seq() -> ConfigDict:
    """Returns the fields of a model from sequence to sequence: one layer on each side."""
    model = _of_cells("seq2seq")
    model.softmax = "separate"
    model.embed_dim = 16  # features of the embeddings
    model.hidden_dim = 128  # features of every layer; of each direction in a bidirectional one
    model.encoder_layers = 1
    model.decoder_layers = 1
    model.share_embeddings = False  # one for both sides, whose vocabulary is shared
    model.reverse_source = False  # read the source from its end
    model.bidirectional = "none"  # encoder layers that read in both directions: none, bottom, all
    model.residual_from = 0  # layers from this one on, counted from 1, add their inputs; 0: none
    # What a layer of the decoder starts with: state, all that the encoder's layer ends with; h,
    # without the rest of it; none, zeros. Of a bidirectional layer it is the backward one's.
    model.hand_over = "state"
    model.peeky = False  # the decoder's inputs and the softmax read the encoder's last output too
    # none, or a score: dot, scaled, general, concat, additive, normed_additive
    model.attention = "none"
    # softmax: [context; h] goes to the softmax; luong: tanh([context; h] @ w) does; input_feeding:
    # and to the decoder's next step; gnmt: the bottom layer asks, and all others read the context.
    model.placement = "softmax"
    model.attended_dim = 0  # luong, input_feeding: features of the attentional state; 0: hidden_dim
    # How parameters are drawn: parts, as each part does it; fan_in, matrices from N(0, 1 / inputs),
    # embeddings from N(0, 0.01^2), and biases are 0.
    model.initializer = "parts"
    # Drop probabilities, as are all rates; the same on both sides.
    model.embed_dropout_rate = 0.0  # whole word types, at the look-up
    model.input_dropout_rate = 0.0  # after the embeddings
    model.hidden_dropout_rate = 0.0  # between the layers
    model.output_dropout_rate = 0.0  # of the features that the softmax reads
    model.state_dropout_rate = 0.0  # h where it enters the recurrent products; always locked
    model.weight_drop_rate = 0.0  # single weights of w_h; of a QRNN, all but its biases
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    return model


def classifier() -> ConfigDict:
    """Returns the fields of a classifier: those of its encoder, a recurrent model, and of its head.

    The rates are those of the head's training; the sizes must be those of the language model that
    the encoder comes from.
    """
    model = recurrent()
    model.name = "classifier"
    model.head_dim = 50  # features between the two layers of the head
    model.pooled_dropout_rate = 0.4  # of the pooled features
    model.head_dropout_rate = 0.1  # between the two layers of the head
    model.chunk_length = 70  # tokens; gradients stay within a chunk
    model.pooled_length = 1400  # tokens at the end of a text whose features are pooled
    return model


def bits() -> ConfigDict:
    """Returns the fields of a model that reads vectors and answers with bits."""
    model = ConfigDict()
    model.name = "bits"
    _add_cell(model)
    model.hidden_dim = 256  # features of every layer
    model.num_layers = 3
    model.dropout_kind = "locked"  # one mask for all steps; elementwise: one per step
    # Drop probabilities, as are all rates.
    model.hidden_dropout_rate = 0.0  # between the layers
    model.output_dropout_rate = 0.0  # after the last layer
    model.state_dropout_rate = 0.0  # h where it enters the recurrent products; always locked
    model.weight_drop_rate = 0.0  # single weights of w_h; of a QRNN, all but its biases
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    # float32 or bfloat16: activations and products. Parameters, memories and losses are float32.
    model.dtype = "float32"
    return model


def shrink(model: ConfigDict) -> None:
    """Makes a model tiny, for the variant `smoke`; options stay what they are."""
    if "memory_rows" in model:
        model.memory_rows = min(model.memory_rows, 8)
        model.memory_dim = min(model.memory_dim, 4)
    if model.name == "bits":
        model.hidden_dim, model.mogrifier_rank = 24, min(model.mogrifier_rank, 4)
        return
    model.embed_dim = 16
    if model.name == "transformer":
        model.num_layers, model.num_heads, model.head_dim, model.inner_dim = 2, 2, 6, 24
        model.memory_length = min(model.memory_length, 10)
        model.eval_memory_length = 20
    elif model.name == "seq2seq":
        model.hidden_dim = 24
        model.encoder_layers = min(model.encoder_layers, 3)
        model.decoder_layers = min(model.decoder_layers, 3)
        model.attended_dim = 0
        if model.softmax in ("tied", "adaptive"):  # their features are as wide as the embedding
            model.hidden_dim = model.embed_dim
    else:
        model.hidden_dim = 16 if model.sum_outputs else 24
        model.mogrifier_rank = min(model.mogrifier_rank, 4)
        model.last_hidden_dim = 20 if model.last_hidden_dim else 0
    if model.cutoffs:
        model.cutoffs = (10, 20)
