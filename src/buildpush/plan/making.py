"""`make_plan`: the one pure function that turns settings into a plan, or says why not."""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Sequence
from pathlib import Path

from attrs import evolve, field, frozen

from ..dockerfile.instructions import Dockerfile
from ..dockerfile.stages import Resolution
from ..errors import Evidence, UnsupportedFeatureError
from ..oci import Platform
from ..spec import Cache, ResourceAmounts, StepSpec
from .advice import advice
from .demands import FRONTEND, Demand, demands, foreign_runs, resolutions, stage_plans
from .document import Decision, Plan, PlannedSecrets
from .fit import BACKENDS, ROWS, Fit, able, judge, reason
from .values import BuildRequest, Capabilities, Delivery, Feature, PushPolicy, Resources
from .wants import wants

__all__ = ["make_plan", "push_policy"]

_MOST_EVIDENCE = 8


@frozen(kw_only=True)
class _Refusal:
    """One reason why the backend cannot: in words, with what it needs to be possible."""

    text: str
    row: str = ""
    feature: Feature | None = None
    evidence: tuple[Evidence, ...] = field(default=())


def make_plan(
    spec: StepSpec,
    backend: Capabilities,
    *,
    dockerfile: Dockerfile,
    context: Path,
    dockerfile_path: Path,
    host: Platform,
    installed: Collection[str] = BACKENDS,
) -> Plan:
    """Decide how *backend* carries out *spec*, or explain why it cannot. Reads nothing.

    *context* and *dockerfile_path* are absolute; *host* is this machine's platform, *installed*
    are the backends that could be chosen instead. Raises
    `DockerfileError` for stages that cannot be connected, and one `UnsupportedFeatureError` that
    lists all that cannot be done, with the lines that ask for it and the backends that could.
    """
    own = _own_platform(backend, host)
    views = resolutions(spec, dockerfile, own=own)
    decisions, refusals = _decide(spec, backend, own)
    images = tuple(dict.fromkeys(image.name for view in views for image in view.base_images))
    delivery, why, undeliverable = _delivery(spec, backend, images)
    refusals += [
        *_missing(spec, dockerfile, backend, own),
        *_foreign(dockerfile, views, backend),
        *undeliverable,
        *_contradictions(spec),
    ]
    if refusals:
        raise _error(backend, refusals, installed)
    request = _request(spec, dockerfile, context, dockerfile_path, delivery)
    return Plan(
        request=_with_form(_with_surroundings(request, spec), spec),
        backend=backend,
        push=spec.push,
        delivery_reason=why,
        decisions=tuple(decisions),
        stages=stage_plans(views[0]),
        base_images=images,
        secrets=PlannedSecrets(spec.secrets),
        ssh=spec.ssh,
        outputs=spec.outputs,
        timeout=spec.timeout,
        quiet=spec.quiet,
        warnings=tuple(advice(spec, dockerfile, own)),
        policy=push_policy(spec),
    )


def push_policy(spec: StepSpec) -> PushPolicy:
    """What *spec* says of tags that exist and destinations that fail."""
    return PushPolicy(
        on_existing_tag=spec.on_existing_tag,
        expect_current=spec.expect_current,
        on_partial=spec.on_partial,
        media_types=spec.media_types,
        mount=spec.mount,
        preflight=not spec.skip_preflight,
    )


def _own_platform(backend: Capabilities, host: Platform) -> Platform:
    """What *backend* builds for when nobody says: its own platform, which may not be ours."""
    if backend.platforms and host not in backend.platforms:
        return backend.platforms[0]
    return host


def _decide(
    spec: StepSpec, backend: Capabilities, own: Platform
) -> tuple[list[Decision], list[_Refusal]]:
    """Judge every setting that was asked for."""
    decisions: list[Decision] = []
    refusals: list[_Refusal] = []
    for want in wants(spec, host=own):
        verdict = judge(want.row, backend)
        decisions.append(
            Decision(setting=want.setting, value=want.value, fit=verdict.fit, how=verdict.how)
        )
        if verdict.fit is not Fit.REFUSED:
            continue
        feature = ROWS[want.row].feature
        text = _cannot(feature, backend) if feature else verdict.how
        refusals.append(_Refusal(text=f"{want.setting}: {text}", row=want.row))
    return decisions, refusals


def _cannot(feature: Feature, backend: Capabilities) -> str:
    why = reason(feature, backend)
    return f"{backend.backend} cannot {feature.value}{f' ({why})' if why else ''}"


def _missing(
    spec: StepSpec, dockerfile: Dockerfile, backend: Capabilities, own: Platform
) -> Iterator[_Refusal]:
    """What lines of the Dockerfile ask for and *backend* does not have."""
    found: dict[Feature, dict[int, Demand]] = {}
    able = backend.features
    if dockerfile.syntax and Feature.CUSTOM_SYNTAX in able:
        able |= FRONTEND
    for demand in demands(spec, dockerfile, own=own):
        if demand.feature not in able:
            found.setdefault(demand.feature, {})[demand.lines.first] = demand
    for feature, lines in found.items():
        yield _refusal(_cannot(feature, backend), dockerfile, lines)


def _foreign(
    dockerfile: Dockerfile, views: Iterable[Resolution], backend: Capabilities
) -> Iterator[_Refusal]:
    """RUN for platforms that *backend* cannot execute; nothing when it does not say which."""
    if Feature.RUN not in backend.features or not backend.platforms:
        return
    found: dict[Platform, dict[int, Demand]] = {}
    for view in views:
        for platform, lines in foreign_runs(view, backend.platforms):
            demand = Demand(Feature.FOREIGN_PLATFORM, lines)
            found.setdefault(platform, {})[lines.first] = demand
    for platform, asked in found.items():
        text = f"{backend.backend} cannot execute RUN for {platform}"
        yield _refusal(text, dockerfile, asked)


def _refusal(text: str, dockerfile: Dockerfile, found: dict[int, Demand]) -> _Refusal:
    asked = [found[number] for number in sorted(found)]
    lines = ", ".join(str(demand.lines.first) for demand in asked)
    return _Refusal(
        text=f"{dockerfile.filename}, line{'s' if len(asked) > 1 else ''} {lines}: {text}",
        feature=asked[0].feature,
        evidence=tuple(demand.evidence(dockerfile) for demand in asked),
    )


def _delivery(
    spec: StepSpec, backend: Capabilities, bases: Sequence[str]
) -> tuple[Delivery, str, tuple[_Refusal, ...]]:
    """How the image leaves the backend, why, and what speaks against it."""
    chosen, why = _choose_delivery(spec, backend, bases)
    if chosen is Delivery.LAYOUT:
        needed = Feature.EXPORT_LAYOUT
    else:
        needed = Feature.PUSH_DIRECTLY if spec.push else Feature.EXPORT_LAYOUT
    if needed not in backend.features:
        text = f"delivery: {_cannot(needed, backend)}"
        return chosen, why, (_Refusal(text=text, feature=needed),)
    if chosen is Delivery.DIRECT and not spec.push:
        text = "delivery: a direct delivery is a push, and push is off"
        return chosen, why, (_Refusal(text=text),)
    ours = _ours_to_push(spec)
    if chosen is Delivery.DIRECT and ours:
        text = f"{', '.join(ours)}: buildpush would have to push, and delivery is direct"
        return chosen, why, (_Refusal(text=text),)
    if chosen is Delivery.DIRECT and _packed(spec):
        text = "outputs: they are written from a layout, and delivery is direct"
        return chosen, why, (_Refusal(text=text),)
    return chosen, why, ()


def _choose_delivery(
    spec: StepSpec, backend: Capabilities, bases: Sequence[str]
) -> tuple[Delivery, str]:
    if spec.delivery != "auto":
        return Delivery[spec.delivery.upper()], "as asked"
    ours = _ours_to_push(spec)
    if ours and spec.push:
        return Delivery.LAYOUT, f"{', '.join(ours)}: only buildpush looks at what is there"
    if Feature.EXPORT_LAYOUT not in backend.features:
        return Delivery.DIRECT, _cannot(Feature.EXPORT_LAYOUT, backend)
    slow = backend.slow_export == "always" or (backend.slow_export == "with a base" and bases)
    able = Feature.PUSH_DIRECTLY in backend.features
    if slow and able and spec.push and not _packed(spec):
        if any(cache.required for cache in (*spec.cache_from, *spec.cache_to)):
            # A backend that pushes does so before it knows whether its caches were there.
            return Delivery.LAYOUT, "nothing is pushed before a required cache was found"
        what = "the image" if backend.slow_export == "always" else "a base image"
        return Delivery.DIRECT, f"exporting {what} would take longer than pushing it"
    # A layout where that costs little: then no push credential enters the backend's environment.
    return Delivery.LAYOUT, "it never sees a push credential"


def _ours_to_push(spec: StepSpec) -> tuple[str, ...]:
    """The settings that a backend which pushes by itself would not look at."""
    asked = {
        "on_existing_tag": spec.on_existing_tag != "overwrite",
        "expect_current": spec.expect_current is not None,
        "media_types": spec.media_types != "keep",
    }
    return tuple(name for name, wanted in asked.items() if wanted)


def _packed(spec: StepSpec) -> bool:
    """Whether an output is wanted that buildpush writes from a layout."""
    return any(output.type != "local" for output in spec.outputs)


def _contradictions(spec: StepSpec) -> Iterator[_Refusal]:
    """Settings that do not fit the platforms: no backend could make sense of them."""
    if len(spec.platforms) > 1 and any(output.type == "docker" for output in spec.outputs):
        yield _Refusal(text="outputs: an archive of type docker holds one platform: use type=oci")
    for name in spec.annotations:
        level, _, _ = name.partition(":")
        if level == "index" and len(spec.platforms) < 2:
            yield _Refusal(
                text=f"annotations: {name} is for an index, and one platform gives none"
            )
        if level.startswith("manifest["):
            platform = Platform.parse(level[len("manifest[") : -1])
            if platform not in spec.platforms:
                yield _Refusal(text=f"annotations: {name} names a platform that is not built")


def _request(
    spec: StepSpec,
    dockerfile: Dockerfile,
    context: Path,
    dockerfile_path: Path,
    delivery: Delivery,
) -> BuildRequest:
    """What the backend will be told; secrets and agents are filled in when the run has them."""
    return BuildRequest(
        context=context,
        dockerfile=dockerfile,
        dockerfile_path=dockerfile_path,
        references=spec.references,
        delivery=delivery,
        target=spec.target,
        platforms=spec.platforms,
        build_args=spec.build_args,
        labels=spec.labels,
        annotations=spec.annotations,
        build_contexts=spec.build_contexts,
        mirrors=spec.mirrors,
        insecure=spec.trust.insecure,
        certificates=spec.trust.certificates,
        retries=spec.retries,
        max_connections=spec.max_connections,
        anonymous_fallback=spec.anonymous_fallback,
    )


def _with_surroundings(request: BuildRequest, spec: StepSpec) -> BuildRequest:
    """Add what RUN finds around it, and which results of earlier builds may be used."""
    remote = (
        (Cache(type="registry", attributes={"ref": str(spec.remote_cache_repo), "mode": "max"}),)
        if spec.remote_cache_repo
        else ()
    )
    return evolve(
        request,
        network=spec.network,
        add_hosts=spec.add_hosts,
        shm_size=spec.shm_size,
        ulimits=spec.ulimits,
        cgroup_parent=spec.cgroup_parent,
        limits=_resources(spec.resources.limits),
        requests=_resources(spec.resources.requests),
        run_as_user=spec.run_as_user,
        no_cache=spec.no_cache,
        no_cache_filter=spec.no_cache_filter,
        pull=spec.pull,
        cache_from=(*spec.cache_from, *remote),
        cache_to=(*spec.cache_to, *remote),
    )


def _with_form(request: BuildRequest, spec: StepSpec) -> BuildRequest:
    """Add what the image is to be like."""
    return evolve(
        request,
        compression=spec.compression,
        compression_level=spec.compression_level,
        reproducible=spec.reproducible,
        source_date_epoch=spec.source_date_epoch,
        provenance=spec.provenance,
        sbom=spec.sbom,
        optimize=spec.optimize,
        squash=spec.squash,
    )


def _resources(amounts: ResourceAmounts) -> Resources:
    return Resources(memory=amounts.memory, cpus=amounts.cpu)


def _error(
    backend: Capabilities, refusals: list[_Refusal], installed: Collection[str]
) -> UnsupportedFeatureError:
    """All *refusals* in one error, with the backends that would have none of them."""
    texts = list(dict.fromkeys(refusal.text for refusal in refusals))
    count = f"{len(texts)} reasons why not: " if len(texts) > 1 else ""
    # Several reasons may be about the same lines.
    evidence = tuple(dict.fromkeys(piece for refusal in refusals for piece in refusal.evidence))
    return UnsupportedFeatureError(
        count + "; ".join(texts),
        evidence=evidence[:_MOST_EVIDENCE],
        hint=_way_out(backend, refusals, installed),
    )


def _way_out(backend: Capabilities, refusals: list[_Refusal], installed: Collection[str]) -> str:
    rows = [refusal.row for refusal in refusals if refusal.row and not ROWS[refusal.row].refused]
    features = [refusal.feature for refusal in refusals if refusal.feature]
    if not rows and not features:
        return ""
    others = able(rows, features, but=backend.backend)
    here = [name for name in others if name in installed]
    if here:
        return f"choose backend {' or '.join(here)}"
    if others:
        return f"backend {' or '.join(others)} could, but is not part of this installation"
    return "no other backend can do all of it: leave something out"
