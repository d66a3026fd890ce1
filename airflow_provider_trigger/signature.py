"""What ``help`` and ``inspect.signature`` show of classes that hand arguments on to their bases."""

from __future__ import annotations

import re
from inspect import Parameter, Signature, cleandoc, signature
from typing import Any

# An argument or an error in a docstring, and its name.
_FIELD = re.compile(r"^:(?:param|raises) (\w+): .*(?:\n +.*)*", re.MULTILINE)


class _AllArguments:
    """A signature, made when it is read: importing a Dag costs nothing."""

    def __get__(self, instance: object, owner: type) -> Signature:
        if instance is not None:  # which may be callable itself
            raise AttributeError("__signature__")
        return _signature_of(owner)


class ShowsArguments:
    """
    Show and explain all arguments but Airflow's, of subclasses too; comes before Airflow's class in bases.

    Airflow reads the ``__init__`` of each class, so that each keeps its own arguments there.
    """

    __signature__ = _AllArguments()

    def __init_subclass__(cls, **kwargs: Any) -> None:
        super().__init_subclass__(**kwargs)
        if cls.__doc__:
            cls.__doc__ = _explained(cls)


def _explained(kind: type) -> str:
    """Return the docstring of a class, with what those of its bases say of arguments and errors."""
    found: dict[str, str] = {}
    own, *others = (
        cleandoc(one.__doc__) for one in kind.__mro__ if issubclass(one, ShowsArguments) and one.__doc__
    )
    for text in (own, *others):
        for field in _FIELD.finditer(text):
            found.setdefault(field[1], field[0])
    arguments = _signature_of(kind).parameters
    names = [name for name in arguments if name in found]
    names += [name for name, text in found.items() if text.startswith(":raises ")]
    return "\n".join([_FIELD.sub("", own).rstrip(), "", *(found[name] for name in names)])


def _signature_of(kind: type) -> Signature:
    """Return the required arguments, then the others, each in the order of the classes; all are keywords."""
    found: dict[str, Parameter] = {}
    further: list[Parameter] = []
    for one in kind.__mro__[: kind.__mro__.index(ShowsArguments)]:
        if "__init__" not in vars(one):
            continue
        _, *parameters = signature(vars(one)["__init__"]).parameters.values()
        for each in parameters:
            if each.kind not in (Parameter.VAR_POSITIONAL, Parameter.VAR_KEYWORD):
                found.setdefault(each.name, each.replace(kind=Parameter.KEYWORD_ONLY))
        further = [each for each in parameters if each.kind is Parameter.VAR_KEYWORD]
        if not further:
            break  # it hands none on
    named = sorted(found.values(), key=lambda each: each.default is not Parameter.empty)
    return Signature([*named, *further])
