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


def shrink(data: ConfigDict) -> None:
    """Makes data few and built-in, for the variant `smoke`."""
    if "source_level" in data:
        data.corpus = "sort"
        data.source_level = data.level = "char"
        data.source_length = min(data.source_length, 8)
        data.max_pairs = 200
        data.num_buckets = 2
    else:
        data.corpus = "synthetic"
        data.max_tokens = 4000
        data.cache_dir = ""
