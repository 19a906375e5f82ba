"""The fields of the data of each kind of model, with their defaults, units and meaning."""

from ml_collections import ConfigDict


def text() -> ConfigDict:
    """Returns the fields of a corpus, which language models read."""
    data = ConfigDict()
    # ptb, ptb_char, wikitext2, wikitext103, enwik8, text8, synthetic; or text, from data.dir
    data.corpus = "text"
    data.dir = ""  # a directory with train.txt, valid.txt, test.txt; "" looks the corpus up
    data.level = "word"  # what a token is: word, char or byte
    data.vocabulary = "train"  # tokens of train (others become <unk>), or all: of the three splits
    data.max_tokens = 0  # read only this many tokens of each split; 0 reads all
    data.backward = False  # read each split from its end to its beginning
    data.cache_dir = ""  # a directory that keeps corpora as ids, for the next run; "" keeps none
    return data


def pairs() -> ConfigDict:
    """Returns the fields of pairs of sources and targets, for sequence to sequence."""
    data = ConfigDict()
    # addition, dates, dates_by_date (no day is in two splits), reverse, copy, sort, which are
    # generated; or pairs, from data.dir
    data.corpus = "pairs"
    # A directory with train.tsv, valid.tsv, test.tsv, a source, a tab and its target on each line;
    # or with train.source and train.target, and so on, line by line.
    data.dir = ""
    data.source_level = "word"  # what a token of a source is: word, char or byte
    data.level = "word"  # and of a target
    data.shared_vocabulary = False  # one vocabulary for both sides
    data.max_length = 0  # most tokens of a side of train; 0: any
    data.faults = "refuse"  # refuse or skip lines that are no pair, or longer than max_length
    # Sources are filled up to this many tokens with <pad>, which the model reads; 0: not at all.
    data.source_length = 0
    data.max_pairs = 0  # read only this many pairs of each split; 0 reads all
    data.num_buckets = 3  # shapes of batches by length, 4 at most: each has its programs to compile
    return data


def labels() -> ConfigDict:
    """Returns the fields of documents with labels, for classification."""
    data = ConfigDict()
    # subjects, which is generated: noun phrases and their pronouns; or labels, from data.dir
    data.corpus = "labels"
    # A directory with train.tsv, a label, a tab and a text on each line, or train.jsonl, or a
    # directory train with one for each label, of a file for each text; and so on.
    data.dir = ""
    data.level = "word"  # what a token is: word, char or byte
    data.backward = False  # read each text from its end to its beginning
    data.max_length = 0  # only the last tokens of a text; 0: all
    data.valid_share = 0.1  # of each label of train that is valid, if there is no such split
    data.max_examples = 0  # read only this many documents of train; 0 reads all
    data.balanced = False  # in the loss of train, all classes weigh the same, whatever their sizes
    data.num_buckets = 4  # shapes of batches by length, 4 at most: each has its programs to compile
    return data


def bits() -> ConfigDict:
    """Returns the fields of exercises of bits, whose batches are made on the fly."""
    data = ConfigDict()
    data.corpus = "copy"  # copy, repeat_copy or associative_recall
    data.min_length = 1  # vectors of the shortest sequence; associative_recall: items, 2 or more
    data.max_length = 20  # and of the longest
    data.test_length = 0  # of every sequence of test; 0: as in training
    data.max_repeats = 0  # repeat_copy: the most repeats that are asked for
    data.train_batches = 250  # of an epoch
    data.eval_batches = 20  # of valid, and of test, with all lengths in turn
    return data


def shrink(data: ConfigDict) -> None:
    """Makes data few and built-in, for the variant `smoke`."""
    if "source_level" in data:
        data.corpus = "sort"
        data.source_level = data.level = "char"
        data.source_length = min(data.source_length, 8)
        data.max_pairs = 200
        data.num_buckets = 2
    elif "valid_share" in data:
        data.corpus = "subjects"
        data.max_examples = 80
        data.num_buckets = 2
    elif "train_batches" in data:
        data.max_length = 4
        data.test_length = min(data.test_length, 5)
        data.max_repeats = min(data.max_repeats, 3)
        data.train_batches, data.eval_batches = 20, 4
    else:
        data.corpus = "synthetic"
        data.max_tokens = 4000
        data.cache_dir = ""
