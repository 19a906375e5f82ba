"""The fields of each model with their defaults, units and meaning."""

from ml_collections import ConfigDict


def recurrent() -> ConfigDict:
    """Returns the fields of a recurrent language model, as for the AWD-LSTM on Penn Treebank."""
    model = ConfigDict()
    model.name = "recurrent"
    model.cell = "lstm"  # lstm, gru, cho_gru (reset before the product), rnn (tanh)
    model.softmax = "tied"  # how features become probabilities: by the embedding itself
    model.backend = "auto"  # scan, fast, cudnn; auto: cudnn for a float32 LSTM on a GPU, else fast
    model.embed_dim = 400  # features of the embedding, and of the last layer
    model.hidden_dim = 1150  # features of the other layers
    model.num_layers = 3
    model.residual = False  # add a layer's input to its output if equally wide
    model.forget_gate_bias = 0.0  # added to the initial bias of an LSTM's forget gate
    # Drop probabilities in [0, 1); every mask is drawn before the window.
    model.dropout_kind = "locked"  # one mask for all steps; elementwise: one per step
    model.embed_dropout_rate = 0.1  # whole word types, at the look-up
    model.input_dropout_rate = 0.4  # after the embedding
    model.hidden_dropout_rate = 0.25  # between the layers
    model.output_dropout_rate = 0.4  # after the last layer
    model.state_dropout_rate = 0.0  # h where it enters the recurrent products; always locked
    model.weight_drop_rate = 0.5  # single weights of w_h
    model.input_weight_drop_rate = 0.0  # single weights of w_x
    # float32 or bfloat16: activations and products. Parameters, averages and losses are float32.
    model.dtype = "float32"
    return model
