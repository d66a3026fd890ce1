"""The environments of the local server, and which of them a secret key opens."""

from __future__ import annotations

from dataclasses import dataclass, field

_KEY_WORDS = {"production": "prod", "staging": "stg", "development": "dev"}


@dataclass(frozen=True, slots=True)
class Environment:
    """
    One environment of a project: what a secret key opens, and no more.

    :param name: its name, such as ``prod``
    :param secret_key: the key that opens it
    :param branch: the preview branch that a request has to name beside the key; ``None`` for all but previews
    """

    name: str
    secret_key: str = field(repr=False)
    branch: str | None = None

    @property
    def id(self) -> str:
        """Return the id that the server shows for it."""
        return f"env_{self.name}"

    @property
    def region(self) -> str:
        """Return the region that its runs show: runs of a development environment name the environment."""
        return self.id if self.name.startswith("dev") else "local"


def token_of(authorization: str) -> str:
    """
    Return the token of an Authorization header; as in reality, ``Bearer`` needs its capital B.

    :param authorization: the header's value; without the word ``Bearer`` the whole of it is the token
    """
    return authorization.removeprefix("Bearer ").strip()


def is_public_token(token: str) -> bool:
    """
    Tell whether a token has the form of a public access token (a JWT).

    :param token: what the Authorization header holds
    """
    return token.startswith("eyJ") and token.count(".") == 2


class Environments(dict[str, Environment]):
    """All environments, by name (``preview/<branch>`` for those of a preview branch)."""

    def add(self, name: str, *, secret_key: str | None = None, branch: str | None = None) -> Environment:
        """
        Add an environment and return it; one of that name and branch is replaced.

        :param name: its name
        :param secret_key: its key; by default one made of the name, obviously not a real one
        :param branch: the preview branch, which requests must then name in ``x-trigger-branch``
        """
        key = secret_key or f"tr_{_KEY_WORDS.get(name, name)}_notARealSecretKey0"
        environment = Environment(name=name, secret_key=key, branch=branch)
        self[name if branch is None else f"{name}/{branch}"] = environment
        return environment

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
