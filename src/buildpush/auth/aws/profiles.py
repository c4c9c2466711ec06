"""Keys of a profile in ``~/.aws``: plain ones are read here, the rest is botocore's business.

Follows "Shared config and credentials files" of the AWS SDKs' reference.
"""

from __future__ import annotations

import configparser
import importlib
import logging
import threading
from collections.abc import Generator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final, Protocol, cast

from attrs import frozen

from ...errors import AuthError
from ...runtime import Environment
from ..sigv4 import AwsKeys
from .calls import Aws

__all__ = ["NoProfileError", "ProfileKeys"]

_PLAIN: Final = ("aws_access_key_id", "aws_secret_access_key")
# What makes a profile more than two keys: single sign-on, roles, processes, a browser's login.
_MORE: Final = (
    "credential_process",
    "credential_source",
    "login_session",
    "role_arn",
    "source_profile",
    "sso_account_id",
    "sso_session",
    "sso_start_url",
    "web_identity_token_file",
)
_LOGGERS: Final = ("botocore", "urllib3")
_INSTALL: Final = "pip install 'buildpush[aws]'"


class NoProfileError(AuthError):
    """The profile holds nothing that could give keys."""


@frozen
class ProfileKeys:
    """The keys of the profile *name*; empty for ``AWS_PROFILE``, or else ``default``.

    Single sign-on, roles and processes need botocore, which ``pip install 'buildpush[aws]'``
    brings.
    """

    name: str = ""

    def keys(self, aws: Aws, /) -> AwsKeys:
        """Read the profile; raises `AuthError` when it is not there, or cannot give keys."""
        named = self.name or aws.variables.get("AWS_PROFILE", "")
        profile = named or "default"
        config, credentials = _files(aws.environment)
        section = "default" if profile == "default" else f"profile {profile}"
        found = {**_section(config, section), **_section(credentials, profile)}
        if any(found.get(key) for key in _MORE):
            return _by_botocore(aws, profile)
        if all(found.get(key) for key in _PLAIN):
            return AwsKeys(
                access_key=found[_PLAIN[0]],
                secret_key=found[_PLAIN[1]],
                session_token=found.get("aws_session_token", ""),
                source=f"the AWS profile {profile}",
            )
        if not named:
            raise NoProfileError("no profile of AWS holds keys")
        raise AuthError(
            f"the AWS profile {profile} holds no keys"
            if found
            else f"there is no AWS profile {profile} in {credentials} or {config}",
            hint="AWS_PROFILE, AWS_CONFIG_FILE and AWS_SHARED_CREDENTIALS_FILE say which is read",
        )


def _files(environment: Environment) -> tuple[Path, Path]:
    """The config file and the credentials file."""
    variables, home = environment.variables, environment.home
    config = variables.get("AWS_CONFIG_FILE", "~/.aws/config")
    credentials = variables.get("AWS_SHARED_CREDENTIALS_FILE", "~/.aws/credentials")

    def place(text: str) -> Path:
        return home / text[2:] if text.startswith("~/") else environment.cwd / text

    return place(config), place(credentials)


def _section(path: Path, name: str) -> Mapping[str, str]:
    """The settings of one section; none where there is no file or no such section."""
    parser = configparser.RawConfigParser(strict=False, default_section="")
    try:
        parser.read_string(path.read_text("utf-8"))
    except (FileNotFoundError, NotADirectoryError):
        return {}
    except OSError as error:
        raise AuthError(f"{path} cannot be read: {error.strerror}") from error
    except (configparser.Error, UnicodeDecodeError):
        # `from None`: the parser's error quotes lines, and there are secrets in them.
        raise AuthError(f"{path} is malformed", hint="is it in the form of an INI file?") from None
    return dict(parser.items(name)) if parser.has_section(name) else {}


class _Frozen(Protocol):
    access_key: str
    secret_key: str
    token: str | None


class _Found(Protocol):
    method: str

    def get_frozen_credentials(self) -> _Frozen: ...


class _Session(Protocol):
    def set_config_variable(self, logical_name: str, value: str) -> None: ...

    def get_credentials(self) -> _Found | None: ...


class _Mute(logging.Filter):
    """Nothing of what this thread makes botocore log: at DEBUG it writes whole answers."""

    def __init__(self) -> None:
        super().__init__()
        self._thread = threading.get_ident()

    def filter(self, record: logging.LogRecord) -> bool:
        return record.thread != self._thread


@contextmanager
def _mute() -> Generator[None]:
    names = [n for n in logging.root.manager.loggerDict if n.split(".")[0] in _LOGGERS]
    loggers, mute = [logging.getLogger(name) for name in names], _Mute()
    for logger in loggers:
        logger.addFilter(mute)
    try:
        yield
    finally:
        for logger in loggers:
            logger.removeFilter(mute)


def _by_botocore(aws: Aws, profile: str) -> AwsKeys:
    """What AWS's own library makes of the profile."""
    try:
        session_of: Any = importlib.import_module("botocore.session").Session
        exceptions: Any = importlib.import_module("botocore.exceptions")
        importlib.import_module("botocore.credentials")  # its loggers, to be muted
        importlib.import_module("botocore.endpoint")
    except ImportError as error:
        raise AuthError(
            f"the AWS profile {profile} is more than a pair of keys, and botocore is not installed",
            hint=f"install it with: {_INSTALL}",
        ) from error
    try:
        with _mute():
            session = cast("_Session", session_of(profile=profile))
            config, credentials = _files(aws.environment)
            session.set_config_variable("config_file", str(config))
            session.set_config_variable("credentials_file", str(credentials))
            found = session.get_credentials()
            keys = found.get_frozen_credentials() if found is not None else None
    except (exceptions.BotoCoreError, exceptions.ClientError) as error:
        # `from None`: what it says may hold what a program or a server printed.
        raise AuthError(
            f"the AWS profile {profile} gives no keys: {type(error).__name__}",
            hint=f"try: aws --profile {profile} sts get-caller-identity; or, when a login ran"
            f" out: aws sso login --profile {profile}",
        ) from None
    if found is None or keys is None:
        raise AuthError(f"the AWS profile {profile} gives no keys")
    return AwsKeys(
        access_key=keys.access_key,
        secret_key=keys.secret_key,
        session_token=keys.token or "",
        source=f"the AWS profile {profile} ({found.method})",
    )
