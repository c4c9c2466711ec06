"""Repositories that a registry wants made before it takes a push: made where that was asked for."""

from __future__ import annotations

from collections.abc import Sequence

from ..auth import Keychain
from ..auth.making import makers
from ..errors import AuthError, NotFoundError, RegistryError
from ..oci import Repository
from ..registry import RegistryClient
from ..runtime import Run

__all__ = ["make_missing", "prove"]


def prove(client: RegistryClient, place: Repository, keychain: Keychain) -> None:
    """Prove that *place* may be pushed to; make it first where it does not exist and may be made.

    Raises as `RegistryClient.check_push` does; where nobody asked for it to be made, with a hint
    that says how.
    """
    try:
        client.check_push(place)
    except NotFoundError as error:
        able = [maker for maker in makers(keychain) if maker.makes(place)]
        maker = next((one for one in able if one.create_repository), None)
        if maker is None:
            if able:
                name = type(able[0]).__name__
                error.hint = (
                    f"make the repository, or have it made: {name}(create_repository=True)"
                )
            raise
        maker.ensure_repository(place)
        client.check_push(place)


def make_missing(
    client: RegistryClient, places: Sequence[Repository], keychain: Keychain, run: Run
) -> None:
    """Make those of *places* that do not exist and may be made; the others are not asked for.

    What goes wrong is a warning: the push will tell for which destination it matters.
    """
    wanted = [maker for maker in makers(keychain) if maker.create_repository]
    for place in dict.fromkeys(places):
        if not any(maker.makes(place) for maker in wanted):
            continue
        try:
            prove(client, place, keychain)
        except (AuthError, RegistryError) as error:
            run.warn(f"{place} is not known to exist: {error.message}")
