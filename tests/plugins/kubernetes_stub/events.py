"""Events, as controllers and kubelets write them: the same again is counted, not repeated."""

from __future__ import annotations

import itertools
import threading
from collections.abc import Mapping
from typing import Any

from attrs import define, field

from .kinds import EVENTS
from .store import Object, Store


@define(eq=False)
class Events:
    """Writes into one cluster."""

    store: Store
    _known: dict[tuple[str, ...], str] = field(factory=dict)
    _numbers: itertools.count[int] = field(factory=lambda: itertools.count(1))
    _lock: threading.Lock = field(factory=threading.Lock)

    def say(
        self,
        about: Mapping[str, Any],
        reason: str,
        message: str,
        *,
        by: str,
        warning: bool = False,
        field_path: str = "",
    ) -> None:
        """Write one event *about* an object."""
        meta = about["metadata"]
        key = (meta["uid"], reason, message, by, field_path)
        namespace = meta.get("namespace", "default")
        with self._lock:
            known = self._known.get(key)
            if known is not None and self.store.try_update(EVENTS, namespace, known, self._again):
                return
            name = f"{meta['name']}.{next(self._numbers):016x}"
            self._known[key] = name
        now = self.store.now()
        path = {"fieldPath": field_path} if field_path else {}
        made: Object = {
            "kind": "Event",
            "apiVersion": "v1",
            "metadata": {"name": name},
            "involvedObject": {
                "kind": about["kind"],
                "namespace": namespace,
                "name": meta["name"],
                "uid": meta["uid"],
                "apiVersion": about["apiVersion"],
                "resourceVersion": meta["resourceVersion"],
                **path,
            },
            "reason": reason,
            "message": message,
            "source": {"component": by},
            "firstTimestamp": now,
            "lastTimestamp": now,
            "count": 1,
            "type": "Warning" if warning else "Normal",
            "eventTime": None,
            "reportingComponent": by,
            "reportingInstance": "",
        }
        self.store.create(EVENTS, namespace, made)

    def _again(self, found: Object) -> None:
        found["count"] += 1
        found["lastTimestamp"] = self.store.now()
