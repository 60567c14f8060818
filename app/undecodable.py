"""What msgspec raises at bytes that are not what they should be: code that decodes what others write catches all of it.

Not every such error is msgspec's own: text that is no UTF-8 is Python's UnicodeDecodeError, and what is nested a
thousand times, which takes 2 KB, a RecursionError.
"""

from typing import Final

import msgspec

UNDECODABLE: Final = (msgspec.MsgspecError, UnicodeDecodeError, RecursionError)
