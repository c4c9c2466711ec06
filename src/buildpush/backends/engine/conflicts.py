"""One registry host, two credentials: what an engine cannot ask for itself, buildpush brings.

An engine's client knows one credential per host. Where a build needs more, the one that serves
its first base image stays with the engine; what needs another is fetched and sent by buildpush:
base images as OCI layouts that are named build contexts, caches as local ones.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import Final, Literal

from attrs import evolve, field, frozen

from ...auth import Access, Chain, Credential, Keychain, StaticKeychain
from ...auth.files import docker_config
from ...dockerfile.stages import resolve
from ...errors import AuthError, CredentialConflictError, RegistryError, SpecError
from ...oci import Digest, ImageReference, Platform, Repository
from ...oci.layout import Layout
from ...plan import BuildRequest, Delivery
from ...plan.values import Cache
from ...runtime import Run
from ..registries import open_registry

__all__ = ["CacheExport", "Settled", "Want", "send_caches", "settle", "wants"]

Role = Literal["frontend", "base", "context", "cache", "cache export", "push"]

_SCANNER: Final = "docker/buildkit-syft-scanner"
_IMAGE: Final = "docker-image://"
_OF_REGISTRIES: Final = ("ref", "registry.insecure", "insecure")
_BY_ENGINE: Final = ("frontend", "push")
"""What no build context can stand in for: the engine itself has to ask for it."""


@frozen(kw_only=True)
class Want:
    """Something an engine asks a registry for; *name* is how the request says it.

    *platforms* are those for which a base image is wanted.
    """

    role: Role
    reference: ImageReference
    name: str = ""
    access: Access = "pull"
    platforms: tuple[Platform, ...] = ()

    @property
    def repository(self) -> Repository:
        """What the credential is for."""
        return self.reference.repository


@frozen(kw_only=True)
class CacheExport:
    """A cache the engine writes into the folder *layout*, to be pushed to *reference* by us."""

    reference: ImageReference
    layout: Path
    required: bool = False


@frozen(kw_only=True)
class Settled:
    """A request that an engine with one credential per host can carry out.

    *request* is the engine's version of it, *config* the ``config.json`` for its client;
    *exports* are left to `send_caches` once the build is done.
    """

    request: BuildRequest
    config: str = field(repr=False)
    exports: tuple[CacheExport, ...] = ()


def wants(request: BuildRequest, own: Platform) -> tuple[Want, ...]:
    """All that an engine whose platform is *own* asks registries for, to carry out *request*.

    What a base image's ONBUILD triggers copy from is in that image, and not known here.
    """
    found = [*_frontends(request), *_bases(request, own)]
    found += _caches("cache", "pull", request.cache_from)
    found += _caches("cache export", "push", request.cache_to)
    if request.delivery is Delivery.DIRECT:
        found += [Want(role="push", reference=r, access="push") for r in request.references]
    return tuple(found)


def settle(request: BuildRequest, keychain: Keychain, run: Run, own: Platform) -> Settled:
    """Make *request* one that needs a single credential per host, fetching what stands in its way.

    Raises `CredentialConflictError` where that is impossible: before anything is fetched, always
    for a direct delivery, and for frontends that are two accounts' images on one host.
    """
    asked = [(want, _resolve(want, keychain, run)) for want in wants(request, own)]
    if request.delivery is Delivery.DIRECT:
        config = docker_config(keychain, ((w.repository, w.access) for w, _ in asked))
        return Settled(request=request, config=config)
    kept = _kept(asked)
    foreign = [w for w, c in asked if c is not None and c != kept[w.repository.host]]
    for want in foreign:
        if want.role in _BY_ENGINE:
            raise CredentialConflictError(
                f"two credentials are needed for frontends and scanners on {want.repository.host},"
                " which the engine fetches by itself",
                hint="use one account for these images, or copies of them on another host",
            )
    fixed = Chain(tuple(StaticKeychain(prefix=h, credential=c) for h, c in kept.items() if c))
    config = docker_config(fixed, ((w.repository, w.access) for w, _ in asked))
    if not foreign:
        return Settled(request=request, config=config)
    return evolve(_detour(request, foreign, keychain, run), config=config)


def send_caches(settled: Settled, keychain: Keychain, run: Run, request: BuildRequest) -> None:
    """Push the caches that the engine has left in folders; trouble is a warning, unless required.

    Raises what pushing raises, for a cache that is required.
    """
    from ...registry.push import push

    if not settled.exports:
        return
    with open_registry(request, keychain, run) as client:
        for export in settled.exports:
            try:
                layout = Layout.open(export.layout)
                entries = layout.index().manifests
                if not entries:
                    raise RegistryError("the engine wrote no cache")
                push(client, layout, entries[-1].digest, (export.reference,), origins={}, run=run)
            except (RegistryError, AuthError, SpecError) as error:
                if export.required:
                    raise
                run.warn(f"the cache {export.reference} could not be written: {error}")


def _resolve(want: Want, keychain: Keychain, run: Run) -> Credential | None:
    credential = keychain.resolve(want.repository, want.access)
    if credential is not None:
        for secret in (credential.password, credential.identity_token, credential.registry_token):
            run.redact.learn(secret)
    return credential


def _kept(asked: Sequence[tuple[Want, Credential | None]]) -> Mapping[str, Credential | None]:
    """The credential that stays with the engine, for each host: its first, frontends foremost."""
    kept: dict[str, Credential | None] = {}
    for want, credential in sorted(asked, key=lambda pair: pair[0].role not in _BY_ENGINE):
        host = want.repository.host
        if kept.get(host) is None:
            kept[host] = credential
    return kept


# -- what is asked for -----------------------------------------------------------------------


def _frontends(request: BuildRequest) -> Iterator[Want]:
    """The images that BuildKit runs to read the Dockerfile, or to look into the result."""
    texts = [request.build_args.get("BUILDKIT_SYNTAX", ""), request.dockerfile.syntax or ""]
    if request.sbom:
        named = request.sbom if isinstance(request.sbom, str) else ""
        texts.append(named.removeprefix("generator=") or _SCANNER)
    for text in filter(None, texts):
        reference = _reference(text)
        if reference is not None:
            yield Want(role="frontend", reference=reference, name=text)


def _bases(request: BuildRequest, own: Platform) -> Iterator[Want]:
    """Images of FROM, COPY --from and mounts, and those that named contexts are."""
    found: dict[str, Want] = {}
    for platform in request.platforms or (own,):
        try:
            resolution = resolve(
                request.dockerfile,
                target=request.target,
                build_args=request.build_args,
                platform=platform,
                build_platform=own,
                contexts=tuple(request.build_contexts),
            )
        except SpecError:
            return  # a Dockerfile for a frontend of its own: only that knows what it means
        for image in resolution.base_images:
            new = Want(role="base", reference=image.reference, name=image.name)
            known = found.get(image.name, new)
            platforms = tuple(dict.fromkeys((*known.platforms, image.platform)))
            found[image.name] = evolve(known, platforms=platforms)
    yield from found.values()
    for name, place in request.build_contexts.items():
        reference = _reference(place.removeprefix(_IMAGE)) if place.startswith(_IMAGE) else None
        if reference is not None:
            platforms = request.platforms or (own,)
            yield Want(role="context", reference=reference, name=name, platforms=platforms)


def _caches(role: Role, access: Access, caches: Sequence[Cache]) -> Iterator[Want]:
    for cache in caches:
        reference = _cache_reference(cache)
        if reference is not None:
            yield Want(role=role, reference=reference, name=str(cache), access=access)


def _cache_reference(cache: Cache) -> ImageReference | None:
    return _reference(cache.attributes.get("ref", "")) if cache.type == "registry" else None


def _reference(text: str) -> ImageReference | None:
    """What *text* names; what is no reference is the engine's to complain of."""
    try:
        return ImageReference.parse(text)
    except SpecError:
        return None


# -- the detour ------------------------------------------------------------------------------


def _detour(
    request: BuildRequest, foreign: Sequence[Want], keychain: Keychain, run: Run
) -> Settled:
    """Fetch what *foreign* wants to read, and make room for what it wants to write."""
    from .fetching import fetch_cache, fetch_image

    folder = run.workdir / "accounts"
    contexts = dict(request.build_contexts)
    with open_registry(request, keychain, run) as client:
        layout = Layout.create(folder / "images")
        for want in foreign:
            if want.role in ("base", "context"):
                digest = fetch_image(client, want.reference, layout, want.platforms, run)
                contexts[want.name] = f"oci-layout://{layout.path}@{digest}"
        caches = Layout.create(folder / "caches")
        imports: dict[str, Digest | None] = {}
        for want in foreign:
            if want.role == "cache":
                required = any(str(c) == want.name and c.required for c in request.cache_from)
                try:
                    imports[want.name] = fetch_cache(client, want.reference, caches, run)
                except (RegistryError, AuthError) as error:
                    if required:
                        raise
                    run.warn(f"the cache {want.reference} could not be read: {error}")
                    imports[want.name] = None
    away = [w for w in foreign if w.role == "cache export"]
    exports = {w.name: folder / f"export-{number}" for number, w in enumerate(away)}
    return Settled(
        request=evolve(
            request,
            build_contexts=contexts,
            cache_from=tuple(_imported(request.cache_from, imports, caches.path)),
            cache_to=tuple(_exported(c, exports) for c in request.cache_to),
        ),
        config="",
        exports=tuple(
            CacheExport(
                reference=w.reference,
                layout=exports[w.name],
                required=any(str(c) == w.name and c.required for c in request.cache_to),
            )
            for w in away
        ),
    )


def _imported(
    caches: Sequence[Cache], imports: Mapping[str, Digest | None], folder: Path
) -> Iterator[Cache]:
    """*caches*, with those that were fetched in their places; those that cannot be had left out."""
    for cache in caches:
        if str(cache) not in imports:
            yield cache
        elif digest := imports[str(cache)]:
            attributes = {"src": str(folder), "digest": str(digest)}
            yield evolve(cache, type="local", attributes=attributes)


def _exported(cache: Cache, exports: Mapping[str, Path]) -> Cache:
    """*cache*, written into a folder when it is one of *exports*."""
    folder = exports.get(str(cache))
    if folder is None:
        return cache
    kept = {k: v for k, v in cache.attributes.items() if k not in _OF_REGISTRIES}
    # A plain image manifest: registries take it, and so does whatever pushes an image.
    form = {"dest": str(folder), "image-manifest": "true", "oci-mediatypes": "true"}
    return evolve(cache, type="local", attributes={**kept, **form})
