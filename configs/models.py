"""The fields of each model with their defaults, units and meaning."""

from ml_collections import ConfigDict


def recurrent() -> ConfigDict:
    """Returns the fields of a recurrent language model, as for the AWD-LSTM on Penn Treebank."""
    model = ConfigDict()
    model.name = "recurrent"
    # lstm, gru, cho_gru (reset before the product), rnn (tanh), qrnn, mogrifier (an LSTM)
    model.cell = "lstm"
    # tied: the embedding is the softmax's matrix; mixture: of several such softmaxes; adaptive: by
    # clusters of tokens, for large vocabularies.
    model.softmax = "tied"
    # scan, fast, cudnn, or associative (for a qrnn); auto: cudnn for a float32 LSTM on a GPU, else
    # fast if the cell has it, else scan; for a qrnn scan on a CPU, else associative.
    model.backend = "auto"
    model.embed_dim = 400  # features of the embedding
    model.hidden_dim = 1150  # features of the other layers
    model.num_layers = 3
    model.last_hidden_dim = 0  # features of the last layer; 0: embed_dim, as all but mixture need
    model.residual = False  # add a layer's input to its output if equally wide
    model.sum_outputs = False  # features are the sum of all layers' outputs, not the last one's
    model.forget_gate_bias = 0.0  # added to the initial bias of an LSTM's forget gate
    model.cap_input_gate = False  # an LSTM's input gate is at most 1 minus its forget gate
    model.mogrifier_rounds = 0  # mogrifier: gates between x and h before each step
    model.mogrifier_rank = 0  # mogrifier: of the matrices of these gates
    model.filter_width = 1  # qrnn: inputs that a step of the first layer reads: 1, or 2
    model.num_components = 0  # mixture: softmaxes, K
    model.cutoffs = ()  # adaptive: first id of each cluster but the first; ids fall in frequency
    model.div_val = 1  # adaptive: vectors of cluster k have embed_dim / div_val^k features
    # Drop probabilities in [0, 1); every mask is drawn before the window.
    model.dropout_kind = "locked"  # one mask for all steps; elementwise: one per step
    model.embed_dropout_rate = 0.1  # whole word types, at the look-up
    model.input_dropout_rate = 0.4  # after the embedding
    model.hidden_dropout_rate = 0.25  # between the layers
    model.output_dropout_rate = 0.4  # after the last layer
    model.latent_dropout_rate = 0.0  # mixture: the latents; always locked
    model.state_dropout_rate = 0.0  # h where it enters the recurrent products; always locked
    model.weight_drop_rate = 0.5  # single weights of w_h; of a QRNN, all but its biases
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    # float32 or bfloat16: activations and products. Parameters, averages and losses are float32.
    model.dtype = "float32"
    return model
