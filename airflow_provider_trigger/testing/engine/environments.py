"""The environments of the local server, and which of them a secret key opens."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Literal

from . import constants

EnvironmentKind = Literal["dev", "staging", "preview", "prod"]

_KEY_WORDS = {"production": "prod", "staging": "stg", "development": "dev"}
_KINDS: dict[str, EnvironmentKind] = {
    "dev": "dev",
    "stag": "staging",
    "stg": "staging",
    "preview": "preview",
}


@dataclass(slots=True, unsafe_hash=True)
class Environment:
    """
    One environment of a project: what a secret key opens, and no more.

    :param name: its name, such as ``prod``
    :param secret_key: the key that opens it
    :param branch: the preview branch that a request has to name, too; ``None`` for all but previews
    :param kind: ``dev``, ``staging``, ``preview`` or ``prod``
    :param scopes: the rights of the key; ``None`` for all
    """

    name: str
    secret_key: str = field(repr=False, compare=False)  # changes when it is rotated
    branch: str | None = None
    kind: EnvironmentKind = "prod"
    scopes: frozenset[str] | None = field(default=None, compare=False)

    @property
    def id(self) -> str:
        """Return the id that the server shows for it."""
        return f"env_{self.name}"

    @property
    def deployed(self) -> bool:
        """Return whether tasks are deployed to it, as to all but development environments."""
        return self.kind != "dev"

    @property
    def region(self) -> str:
        """Return the region that its runs show: runs of a development environment name the environment."""
        return "local" if self.deployed else self.id


def token_of(authorization: str) -> str:
    """
    Return the token of an Authorization header; as in reality, ``Bearer`` needs its capital B.

    :param authorization: the header's value; without the word ``Bearer`` the whole of it is the token
    """
    return authorization.removeprefix("Bearer ").strip()


def is_public_token(token: str) -> bool:
    """
    Return whether a token has the form of a public access token (a JWT).

    :param token: what the Authorization header holds
    """
    return token.startswith("eyJ") and token.count(".") == 2


class Environments(dict[str, Environment]):
    """All environments, by name (``preview/<branch>`` for those of a preview branch)."""

    def add(
        self,
        name: str,
        *,
        secret_key: str | None = None,
        branch: str | None = None,
        kind: EnvironmentKind | None = None,
    ) -> Environment:
        """
        Add an environment and return it; one of its name and branch is replaced.

        :param secret_key: its key, ``None`` for one made of the name
        :param branch: its branch; only a preview has one
        :param kind: its kind, ``None`` for what the name begins with
        """
        environment = Environment(
            name=name,
            secret_key=secret_key or default_key(name),
            branch=branch,
            kind=kind or _default_kind(name, branch),
        )
        self[name if branch is None else f"{name}/{branch}"] = environment
        return environment

    def find(self, environment: Environment | str | None) -> Environment:
        """
        Return an environment.

        :param environment: it, or its name, which is added if need be; ``None`` for ``prod``
        """
        if isinstance(environment, Environment):
            return environment
        name = environment or constants.ENVIRONMENT
        return self.get(name) or self.add(name)

    def authenticate(self, authorization: str, branch: str | None) -> Environment | None:
        """
        Return the environment that a request may use, ``None`` if its key opens none.

        :param authorization: the Authorization header's value
        :param branch: the value of ``x-trigger-branch``; only preview keys need it, others ignore it
        """
        token = token_of(authorization)
        for environment in list(self.values()):
            if environment.secret_key == token and environment.branch in (None, branch):
                return environment
        return None


def default_key(name: str) -> str:
    """Return the secret key of an environment that is not given one, obviously not a real one."""
    return f"tr_{_KEY_WORDS.get(name, name)}_notARealSecretKey0"


def _default_kind(name: str, branch: str | None) -> EnvironmentKind:
    """Return the kind that an environment's name begins with, ``prod`` if it begins with none."""
    if branch is not None:
        return "preview"
    return next((kind for start, kind in _KINDS.items() if name.startswith(start)), "prod")
