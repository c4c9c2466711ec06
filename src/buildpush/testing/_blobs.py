"""The blob and upload endpoints of a `LocalRegistry` (distribution-spec 1.1, "Push", "Pull")."""

from __future__ import annotations

import re
import secrets
from typing import Final
from urllib.parse import parse_qs

from attrs import define, evolve, field

from ._dialect import Dialect, Places
from ._messages import Body, Incoming, Response, Span
from ._refusals import refuse
from ._storage import Storage, Upload

DIGEST: Final = re.compile(r"sha256:[0-9a-f]{64}|sha512:[0-9a-f]{128}")
_RANGE: Final = re.compile(r"bytes=(\d*)-(\d*)")
_CONTENT_RANGE: Final = re.compile(r"(\d+)-(\d+)")
_REFUSED_MOUNTS: Final = {
    400: "BLOB_UPLOAD_INVALID",
    401: "UNAUTHORIZED",
    403: "DENIED",
    404: "NAME_UNKNOWN",
    405: "UNSUPPORTED",
}
_OCTETS: Final = "application/octet-stream"


def checked_digest(text: str) -> str:
    """*text* when it is a digest; else refuses with DIGEST_INVALID."""
    if not DIGEST.fullmatch(text):
        raise refuse(400, "DIGEST_INVALID")
    return text


@define(eq=False, kw_only=True)
class Blobs:
    """Answers ``/v2/<name>/blobs/…``."""

    storage: Storage
    dialect: Dialect
    places: Places
    _signature: str = field(factory=secrets.token_urlsafe, init=False)

    def blob(self, incoming: Incoming, name: str, digest: str) -> Response:
        """GET, HEAD or DELETE of one blob."""
        checked_digest(digest)
        path = self.storage.blob(name, digest)
        if path is None:
            raise refuse(404, "BLOB_UNKNOWN", detail=digest)
        match incoming.method:
            case "GET" | "HEAD":
                signed = f"/storage/{name}/{digest}?signature={self._signature}"
                elsewhere = self.places.of_download(signed)
                if elsewhere and incoming.method == "GET":
                    return Response(status=307, headers={"Location": elsewhere})
                whole = Span(path=path, offset=0, length=path.stat().st_size)
                return _part(whole, incoming, digest)
            case "DELETE" if self.dialect.deletes:
                self.storage.delete_blob(name, digest)
                return Response(status=202)
            case _:
                raise refuse(405, "UNSUPPORTED")

    def signed(self, incoming: Incoming, name: str, digest: str) -> Response:
        """GET of a blob where a redirect led: the query is the permission, as object stores do."""
        path = self.storage.blob(name, digest)
        if path is None or _query(incoming).get("signature") != self._signature:
            raise refuse(403, "DENIED", detail="signature")
        if self.dialect.downloads == "other-host" and "authorization" in incoming.headers:
            raise refuse(400, "UNSUPPORTED", detail="Authorization besides a signature")
        whole = Span(path=path, offset=0, length=path.stat().st_size)
        return _part(whole, incoming, digest)

    def begin(self, incoming: Incoming, name: str) -> Response:
        """POST: mount, upload in one request, or open an upload."""
        if incoming.method != "POST":
            raise refuse(405, "UNSUPPORTED")
        query = _query(incoming)
        mount, source = query.get("mount"), query.get("from")
        if mount and self.dialect.mount_answer >= 400:
            raise refuse(self.dialect.mount_answer, _REFUSED_MOUNTS[self.dialect.mount_answer])
        if mount and self._mounted(name, mount, source):
            return self._created(name, mount)
        digest = query.get("digest")
        upload = self.storage.begin(name)
        if digest and not mount and self.dialect.single_post:
            return self._finish(upload, incoming.body, checked_digest(digest))
        return self._accepted(upload, status=202)

    def upload(self, incoming: Incoming, name: str, upload_id: str) -> Response:
        """GET, PATCH, PUT or DELETE of an open upload."""
        upload = self.storage.upload(name, upload_id)
        if upload is None:
            raise refuse(404, "BLOB_UPLOAD_UNKNOWN")
        query = _query(incoming)
        if query.get("_state") != upload.state:
            raise refuse(404, "BLOB_UPLOAD_INVALID", detail="_state")
        if self.dialect.locations == "other-host" and "authorization" in incoming.headers:
            raise refuse(400, "UNSUPPORTED", detail="Authorization besides a signature")
        match incoming.method:
            case "GET":
                return self._accepted(upload, status=204)
            case "PATCH":
                self._check_range(upload, incoming)
                upload.append(incoming.body, keep_partial=self.dialect.keeps_partial)
                return self._accepted(upload, status=202)
            case "PUT":
                digest = checked_digest(query.get("digest", ""))
                self._check_range(upload, incoming)
                return self._finish(upload, incoming.body, digest)
            case "DELETE" if self.dialect.cancels:
                self.storage.cancel(upload)
                return Response(status=204)
            case _:
                raise refuse(405, "UNSUPPORTED")

    def _mounted(self, name: str, digest: str, source: str | None) -> bool:
        if self.dialect.mount_answer != 201:
            return False
        if source is None and not self.dialect.discovers_mounts:
            return False
        return self.storage.mount(name, checked_digest(digest), source)

    def _finish(self, upload: Upload, body: Body, digest: str) -> Response:
        upload.append(body, keep_partial=self.dialect.keeps_partial)
        if not self.storage.finish(upload, digest):
            raise refuse(400, "DIGEST_INVALID", detail=digest)
        return self._created(upload.repository, digest)

    def _check_range(self, upload: Upload, incoming: Incoming) -> None:
        stated = incoming.headers.get("content-range")
        if stated is None or self.dialect.ranges == "none":
            return
        found = _CONTENT_RANGE.fullmatch(stated)
        if found is None or int(found[1]) != upload.size or int(found[2]) < int(found[1]):
            headers = self._progress(upload)
            refusal = refuse(416, "RANGE_INVALID", detail=stated)
            raise evolve(refusal, headers=headers)
        length = int(found[2]) - int(found[1]) + 1
        if incoming.body.announced not in (None, length):
            raise refuse(400, "SIZE_INVALID", detail=stated)
        if self.dialect.ranges == "ghcr" and length > self.dialect.chunk_limit:
            raise refuse(416, "RANGE_INVALID", detail=f"over {self.dialect.chunk_limit} bytes")

    def _accepted(self, upload: Upload, *, status: int) -> Response:
        headers = {**self._progress(upload), "Docker-Upload-UUID": upload.id}
        if self.dialect.min_chunk:
            headers["OCI-Chunk-Min-Length"] = str(self.dialect.min_chunk)
        return Response(status=status, headers=headers)

    def _progress(self, upload: Upload) -> dict[str, str]:
        path = f"/v2/{upload.repository}/blobs/uploads/{upload.id}"
        state = upload.state.replace("=", "%3D")
        headers = {"Location": self.places.of_upload(f"{path}?_state={state}")}
        match self.dialect.ranges:
            case "none":
                return headers
            case "ecr":
                size = upload.first
            case "zot":
                size = upload.last
            case "strict" | "ghcr":
                size = upload.size
        # Distribution writes 0-0 for nothing at all, as the specification's grammar demands.
        return {**headers, "Range": f"0-{max(0, size - 1)}"}

    def _created(self, name: str, digest: str) -> Response:
        place = self.places.of(f"/v2/{name}/blobs/{digest}")
        headers = {"Location": place, "Docker-Content-Digest": digest}
        return Response(status=201, headers=headers)


def _query(incoming: Incoming) -> dict[str, str]:
    return {name: values[0] for name, values in parse_qs(incoming.query).items()}


def _part(whole: Span, incoming: Incoming, digest: str) -> Response:
    headers = {
        "Content-Type": _OCTETS,
        "Docker-Content-Digest": digest,
        "Accept-Ranges": "bytes",
        "ETag": f'"{digest}"',
    }
    found = _RANGE.fullmatch(incoming.headers.get("range", ""))
    if found is None or not (found[1] or found[2]):
        return Response(status=200, headers=headers, body=whole)
    size = whole.length
    if found[1]:
        first = int(found[1])
        last = min(int(found[2]) if found[2] else size - 1, size - 1)
    else:
        first, last = max(0, size - int(found[2])), size - 1
    if first > last:
        raise refuse(416, "RANGE_INVALID", Content_Range=f"bytes */{size}")
    headers["Content-Range"] = f"bytes {first}-{last}/{size}"
    span = Span(path=whole.path, offset=first, length=last - first + 1)
    return Response(status=206, headers=headers, body=span)
