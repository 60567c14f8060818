"""How many tokens a model pays for a text, estimated from above without any model's vocabulary.

The vocabularies of real tokenizers are not part of any package; they are fetched from the network, which tests must not
need. So this counts what byte-pair encoders are known to do, each time on the dear side: a run of lower-case letters
costs a token for each five begun (English words of up to eight letters are one token as a rule), a run of capitals one
for each two (tickers are rare words), digits one for each three (exact for the encoders that split numbers so), a run
of punctuation one for each two (JSON's `":"` and `","` are single tokens), any other character two. A space before a
word costs nothing, as it is part of the word's token. On JSON this comes to one token for about three characters, where
the usual rule of thumb says four.
"""

import re
from math import ceil

_PIECES = re.compile(r"[a-z]+|[A-Z]+|[0-9]+|[!-/:-@\[-`{-~]+| +|\s|.", re.DOTALL)


def tokens(text: str) -> int:
    """Return an upper estimate of the tokens in `text`.

    >>> tokens('{"symbol":"BTCUSDT","mid_price":61234.565}')
    20
    """
    return sum(map(_cost, _PIECES.findall(text)))


def _cost(piece: str) -> int:
    first = piece[0]
    if first == " ":
        return 0 if piece == " " else 1
    if not first.isascii():
        return 2
    if first.isdigit():
        return ceil(len(piece) / 3)
    return ceil(len(piece) / 5) if first.islower() else ceil(len(piece) / 2)
