"""What ``help`` says of the arguments of classes that share some."""

from __future__ import annotations

import re
from inspect import cleandoc, signature
from typing import Any

# An argument or an error in a docstring, and its name.
_FIELD = re.compile(r"^:(?:param|raises) (\w+): .*(?:\n +.*)*", re.MULTILINE)


class ExplainsArguments:
    """Explain all arguments in the docstring, those of bases too; comes before Airflow's class in bases."""

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        own, *others = (
            cleandoc(one.__doc__ or "") for one in cls.__mro__ if issubclass(one, ExplainsArguments)
        )
        found: dict[str, str] = {}
        for text in (own, *others):
            for field in _FIELD.finditer(text):
                found.setdefault(field[1], field[0])
        order = [*signature(cls.__init__).parameters]
        names = sorted(found, key=lambda name: order.index(name) if name in order else len(order))
        cls.__doc__ = "\n".join([_FIELD.sub("", own).rstrip(), "", *(found[name] for name in names)])
