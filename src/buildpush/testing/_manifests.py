"""The manifest, tag and referrers endpoints of a `LocalRegistry` (distribution-spec 1.1)."""

from __future__ import annotations

import hashlib
import json
import re
from collections.abc import Iterator
from typing import Final, cast
from urllib.parse import parse_qs, quote

from attrs import define

from ._blobs import DIGEST, checked_digest
from ._dialect import Dialect, Places
from ._messages import Incoming, Response
from ._references import Document, Reference, as_document, digest_of, kinds, references
from ._refusals import Refusal, answer, nowhere, refuse
from ._storage import Storage, StoredManifest

_TAG: Final = re.compile(r"[A-Za-z0-9_][A-Za-z0-9._-]{0,127}")
_LIMIT: Final = 4 << 20
_INDEX: Final = "application/vnd.oci.image.index.v1+json"


@define(eq=False, kw_only=True)
class Manifests:
    """Answers ``/v2/<name>/manifests/…``, ``…/tags/list`` and ``…/referrers/…``."""

    storage: Storage
    dialect: Dialect
    places: Places

    def manifest(self, incoming: Incoming, name: str, target: str) -> Response:
        """GET, HEAD, PUT or DELETE by tag or digest."""
        if ":" in target:
            checked_digest(target)
        match incoming.method:
            case "GET" | "HEAD":
                return self._get(incoming, name, target)
            case "PUT":
                return self._put(incoming, name, target)
            case "DELETE" if self.dialect.deletes:
                if not self.storage.delete_manifest(name, target):
                    raise refuse(404, "MANIFEST_UNKNOWN", detail=target)
                return Response(status=202)
            case _:
                raise refuse(405, "UNSUPPORTED")

    def tags(self, incoming: Incoming, name: str) -> Response:
        """GET of the tags, paged by ``n`` and ``last``."""
        if incoming.method != "GET":
            raise refuse(405, "UNSUPPORTED")
        found = self.storage.tags(name)
        if found is None:
            raise refuse(404, "NAME_UNKNOWN", detail=name)
        query = parse_qs(incoming.query)
        after = query.get("last", [""])[0]
        tags = [tag for tag in found if tag > after]
        limit = query.get("n", [str(len(tags))])[0]
        if not limit.isdecimal():
            raise refuse(400, "PAGINATION_NUMBER_INVALID", detail=limit)
        page = tags[: int(limit)]
        headers: dict[str, str] = {}
        if page and len(page) < len(tags):
            rest = f"/v2/{name}/tags/list?last={quote(page[-1])}&n={limit}"
            headers["Link"] = f'<{rest}>; rel="next"'
        return answer(200, {"name": name, "tags": page}, **headers)

    def referrers(self, incoming: Incoming, name: str, digest: str) -> Response:
        """GET of the manifests whose subject is *digest*, as an index."""
        if not self.dialect.referrers:
            raise nowhere()
        if incoming.method != "GET":
            raise refuse(405, "UNSUPPORTED")
        checked_digest(digest)
        wanted = parse_qs(incoming.query).get("artifactType", [None])[0]
        found = [
            descriptor
            for descriptor in self._referring(name, digest)
            if wanted is None or descriptor.get("artifactType") == wanted
        ]
        body = {"schemaVersion": 2, "mediaType": _INDEX, "manifests": found}
        headers = {"Content_Type": _INDEX}
        if wanted is not None:
            headers["OCI_Filters_Applied"] = "artifactType"
        return answer(200, body, **headers)

    def _get(self, incoming: Incoming, name: str, target: str) -> Response:
        found = self.storage.manifest(name, target)
        if found is None:
            raise refuse(404, "MANIFEST_UNKNOWN", detail=target)
        digest, stored = found
        if not _accepts(incoming.headers.get("accept", "*/*"), stored.media_type):
            raise refuse(404, "MANIFEST_UNKNOWN", detail=f"{stored.media_type} is not accepted")
        headers = {
            "Content-Type": stored.media_type,
            "Docker-Content-Digest": digest,
            "ETag": f'"{digest}"',
        }
        return Response(status=200, headers=headers, body=stored.data)

    def _put(self, incoming: Incoming, name: str, target: str) -> Response:
        data = incoming.body.read(_LIMIT)
        if data is None:
            raise refuse(413, "MANIFEST_INVALID", detail="larger than 4 MiB")
        media_type = incoming.headers.get("content-type", "")
        document = _parse(data, media_type)
        self._judge(name, document, media_type)
        pinned = DIGEST.fullmatch(target) is not None
        algorithm = target.partition(":")[0] if pinned else "sha256"
        digest = f"{algorithm}:{hashlib.new(algorithm, data).hexdigest()}"
        if pinned and digest != target:
            raise refuse(400, "DIGEST_INVALID", detail=target)
        tags = [target]
        if pinned:
            tags = parse_qs(incoming.query).get("tag", []) if self.dialect.tag_parameters else []
        for tag in tags:
            self._check_tag(name, tag)
        stored = StoredManifest(data=data, media_type=media_type)
        self.storage.add_manifest(name, digest, stored, tags=tags)
        headers = {
            "Location": self.places.of(f"/v2/{name}/manifests/{digest}"),
            "Docker-Content-Digest": digest,
        }
        subject = digest_of(document.get("subject"))
        if subject and self.dialect.referrers:
            headers["OCI-Subject"] = subject
        if pinned and tags:
            headers["OCI-Tag"] = ", ".join(tags)
        return Response(status=201, headers=headers)

    def _judge(self, name: str, document: Document, media_type: str) -> None:
        """Refuse a manifest of a kind, or with references, that are not for this registry."""
        rejects = set(self.dialect.rejects)
        found = kinds(document, media_type) & rejects
        if found:
            raise refuse(self.dialect.rejects_with, "MANIFEST_INVALID", detail=", ".join(found))
        missing = [needed.digest for needed in references(document) if not self._has(name, needed)]
        if self.dialect.accepts_missing:
            missing = []
        subject = digest_of(document.get("subject"))
        if subject and "subject-first" in rejects and not self.storage.manifest(name, subject):
            missing.append(subject)
        if missing:
            details = tuple({"digest": digest} for digest in missing)
            codes = ("MANIFEST_BLOB_UNKNOWN",) * len(missing)
            raise Refusal(status=400, codes=codes, details=details)

    def _check_tag(self, name: str, tag: str) -> None:
        if not _TAG.fullmatch(tag):
            raise refuse(400, "TAG_INVALID", detail=tag)
        if not self.dialect.immutable or tag not in (self.storage.tags(name) or ()):
            return
        match self.dialect.immutable:
            case "rule":
                text = f"{tag} in {name} is matched by a rule that makes it immutable"
                raise Refusal(status=412, codes=("PRECONDITION",), message=text)
            case what:
                text = (
                    f"{tag} is already in {name} and cannot be put again: the {what} is immutable"
                )
                raise Refusal(status=400, codes=("TAG_INVALID",), message=text)

    def _has(self, name: str, needed: Reference) -> bool:
        if needed.manifest:
            return self.storage.manifest(name, needed.digest) is not None
        return self.storage.blob(name, needed.digest) is not None

    def _referring(self, name: str, subject: str) -> Iterator[Document]:
        for digest, stored in self.storage.manifests(name).items():
            document = cast("Document", json.loads(stored.data))
            if digest_of(document.get("subject")) != subject:
                continue
            config = as_document(document.get("config"))
            kind = document.get("artifactType") or config.get("mediaType")
            found: Document = {
                "mediaType": stored.media_type,
                "digest": digest,
                "size": len(stored.data),
                "artifactType": kind,
            }
            if document.get("annotations"):
                found["annotations"] = document["annotations"]
            yield found


def _accepts(accept: str, media_type: str) -> bool:
    # Distribution answers 404 for a manifest of a kind the client did not ask for.
    kinds = {part.partition(";")[0].strip() for part in accept.split(",")}
    return bool(kinds & {"*/*", "application/*", media_type})


def _parse(data: bytes, media_type: str) -> Document:
    try:
        parsed: object = json.loads(data)
    except ValueError:
        raise refuse(400, "MANIFEST_INVALID", detail="not JSON") from None
    if not isinstance(parsed, dict) or not media_type:
        raise refuse(400, "MANIFEST_INVALID", detail="not a manifest")
    document = cast("Document", parsed)
    if document.get("mediaType", media_type) != media_type:
        raise refuse(400, "MANIFEST_INVALID", detail="mediaType differs from Content-Type")
    return document
