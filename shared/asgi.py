"""An extension of ASGI between our server and our apps: an answer in one message instead of two.

An app may send `WHOLE_ANSWER` (`status`, `headers`, `body`) where `scope["extensions"]` names it; it says its own Content-Length.
"""

from __future__ import annotations

from typing import Final

WHOLE_ANSWER: Final = "http.response.whole"
#: The messages with which an answer begins.
BEGINNINGS: Final = frozenset({"http.response.start", WHOLE_ANSWER})
