"""What a store's errors say: one line for people, out of obstore's message, which goes on for a page."""

from __future__ import annotations

import re

_CODE = re.compile(r"<Code>(\w+)</Code>")


def first_line(error: BaseException) -> str:
    """With the code that Azure and S3 give further down: ContainerNotFound, AuthenticationFailed."""
    text = str(error).strip()
    line = (text or type(error).__name__).splitlines()[0].partition("<?xml")[0].rstrip(" :")
    code = _CODE.search(text)
    return line if code is None else f"{code[1]}: {line}"
