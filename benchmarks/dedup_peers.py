"""How other libraries find near copies: as their manuals begin, and by their bulk calls for speed.

All get texts in memory and look for word 5-grams of Jaccard similarity 0.8; none checks a pair
exactly. The grams of those that take tokens are joined here, which is most of their time, as it is
for whoever calls them from Python.
"""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from tempfile import TemporaryDirectory

from traces.curate.tokens import tokens

NGRAM = 5
Split = Callable[[str], list[str]]


def grams_of(text: str, split: Split) -> list[str]:
    words = split(text)
    return list(map(" ".join, zip(*(words[n:] for n in range(NGRAM)), strict=False)))


def datasketch(texts: list[str], split: Split) -> int:
    """MinHashes in bulk, with the hash function its manual recommends for speed."""
    from datasketch import MinHash, MinHashLSH
    from xxhash import xxh32_intdigest

    index = MinHashLSH(threshold=0.8, num_perm=128)
    grams = ([gram.encode() for gram in grams_of(text, split)] for text in texts)
    copies = 0
    made = MinHash.generator(grams, num_perm=128, hashfunc=xxh32_intdigest)
    for number, sketched in enumerate(made):
        if index.query(sketched):
            copies += 1
        else:
            index.insert(str(number), sketched, check_duplication=False)
    return copies


def datasketch_example(texts: list[str], split: Split) -> int:
    """As its manual begins: a MinHash for each text, an `update` for each gram, by SHA-1."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    copies = 0
    for number, text in enumerate(texts):
        sketched = MinHash(num_perm=128)
        for gram in grams_of(text, split):
            sketched.update(gram.encode("utf8"))
        if index.query(sketched):
            copies += 1
        else:
            index.insert(str(number), sketched)
    return copies


def datasketch_batch(texts: list[str], split: Split) -> int:
    """A MinHash for each text, all its grams in one `update_batch`, by SHA-1 as is the default."""
    from datasketch import MinHash, MinHashLSH

    index = MinHashLSH(threshold=0.8, num_perm=128)
    copies = 0
    for number, text in enumerate(texts):
        sketched = MinHash(num_perm=128)
        sketched.update_batch([gram.encode() for gram in grams_of(text, split)])
        if index.query(sketched):
            copies += 1
        else:
            index.insert(str(number), sketched)
    return copies


def rensa_example(texts: list[str], split: Split) -> int:
    """As its README says to keep unique documents; it checks candidates by their sketches."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    from rensa import RMinHashDeduplicator

    index = RMinHashDeduplicator(threshold=0.8, num_perm=128, use_lsh=True)
    kept = index.add_pairs((str(n), grams_of(text, split)) for n, text in enumerate(texts))
    return len(texts) - sum(kept)


def rensa(texts: list[str], split: Split, *, sampled: bool = False) -> int:
    """A matrix of digests and one query; `sampled`: its rho sketch, which leaves tokens out."""
    os.environ.setdefault("RAYON_NUM_THREADS", "1")
    from rensa import RMinHash, RMinHashLSH

    grams = [grams_of(text, split) for text in texts]
    make = RMinHash.digest_matrix_from_token_sets
    if sampled:
        make = RMinHash.digest_matrix_from_token_sets_rho
    index = RMinHashLSH(threshold=0.8, num_perm=128, num_bands=8 if sampled else 32)
    return sum(index.query_duplicate_flags_matrix_one_shot(make(grams, num_perm=128, seed=1)))


def datatrove(texts: list[str]) -> int:
    """Its four stages over files in one process, with its own defaults.

    These are 14 bands of 8 hashes and, for English as for white space, a tokenizer of spaCy.
    """
    from datatrove.data import Document
    from datatrove.pipeline.dedup import (
        MinhashDedupBuckets,
        MinhashDedupCluster,
        MinhashDedupFilter,
        MinhashDedupSignature,
    )
    from datatrove.pipeline.dedup.minhash import MinhashConfig
    from datatrove.utils.logging import logger
    from datatrove.utils.typeshelper import Languages
    from xxhash import xxh64_intdigest

    logger.remove()
    config = MinhashConfig(n_grams=NGRAM)
    documents = [Document(text=text, id=str(number)) for number, text in enumerate(texts)]
    with TemporaryDirectory() as name:
        made, pairs, gone = (str(Path(name) / part) for part in ("made", "pairs", "gone"))
        first = MinhashDedupSignature(made, config, language=Languages.english)
        first._hash_func = lambda gram: xxh64_intdigest(gram.encode())  # it gives xxhash 4 a str
        first.run(documents)
        buckets = MinhashDedupBuckets(made, pairs, config=config)
        for bucket in range(config.num_buckets):
            buckets.run(rank=bucket, world_size=config.num_buckets)
        MinhashDedupCluster(pairs, gone, config=config).run()
        return len(texts) - len(list(MinhashDedupFilter(gone).run(documents)))


PEERS: dict[str, Callable[[list[str]], int]] = {
    "datasketch_example_canonical": lambda texts: datasketch_example(texts, tokens),
    "datasketch_batch_canonical": lambda texts: datasketch_batch(texts, tokens),
    "rensa_example_canonical": lambda texts: rensa_example(texts, tokens),
    "datasketch_canonical": lambda texts: datasketch(texts, tokens),
    "datasketch_split": lambda texts: datasketch(texts, str.split),
    "rensa_canonical": lambda texts: rensa(texts, tokens),
    "rensa_split": lambda texts: rensa(texts, str.split),
    "rensa_rho_split": lambda texts: rensa(texts, str.split, sampled=True),
    "datatrove": datatrove,
}

# These take seconds for each megabyte, of which each costs the same: fewer texts tell enough.
SLOW = {"datasketch_example_canonical", "datatrove"}
