"""What is counted, for Prometheus."""

from __future__ import annotations

import os
import time
from collections.abc import Iterable
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, Summary, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)
RESOLUTION = 0.1  # seconds, of when the last request was: to say it each time would cost a request half a microsecond


class Metrics:
    """The metrics of a server, in a registry of its own; of several processes, those of all."""

    def __init__(self) -> None:
        self._registry = registry = CollectorRegistry()
        self.requests = Counter(
            "rnnx_requests", "Requests for inference that were answered", ("model", "status"), registry=registry
        )
        self.seconds = Histogram(
            "rnnx_request_seconds", "From the whole request to the answer", ("model",), buckets=SECONDS,
            registry=registry,
        )  # fmt: skip
        self.rows = Histogram("rnnx_batch_rows", "Rows of a call", ("model",), buckets=ROWS, registry=registry)
        self.waiting = Gauge(
            "rnnx_waiting_rows",
            "Rows that wait for a model",
            ("model",),
            registry=registry,
            multiprocess_mode="livesum",
        )
        self.alive = Gauge(
            "rnnx_sequences", "Sequences that are alive", ("model",), registry=registry, multiprocess_mode="livesum"
        )
        self.failed = Summary(
            "rnnx_failed_seconds", "From the whole request to an error", ("model",), registry=registry
        )
        self.queued = Summary("rnnx_queue_seconds", "From a request to its call", ("model",), registry=registry)
        self.computed = Summary("rnnx_compute_seconds", "Of a call of the model", ("model",), registry=registry)
        self.last = Gauge(
            "rnnx_last_request_timestamp_seconds", "When a request was answered last", ("model",), registry=registry,
            multiprocess_mode="max",
        )  # fmt: skip
        self.held = Gauge(
            "rnnx_held_bytes", "Of requests and answers, at the last look at the files", registry=registry,
            multiprocess_mode="livesum",
        )  # fmt: skip
        self.loads = Counter("rnnx_model_loads", "Model files read again", ("model", "result"), registry=registry)

    def of_model(self, name: str) -> ModelMetrics:
        return ModelMetrics(self, name)

    def _of_all(self) -> CollectorRegistry:
        """Those of all processes."""
        if "PROMETHEUS_MULTIPROC_DIR" not in os.environ:
            return self._registry
        registry = CollectorRegistry()
        MultiProcessCollector(registry)
        return registry

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        text: bytes = generate_latest(self._of_all())
        return text

    def statistics(self, names: Iterable[str]) -> dict[str, Any]:
        """The same in the words of Triton's statistics extension; times are nanoseconds since the start."""
        found: dict[tuple[str, str], float] = {}
        for family in self._of_all().collect():
            for sample in family.samples:
                key = sample.name, sample.labels.get("model", "")
                found[key] = found.get(key, 0.0) + sample.value

        def pair(name: str, what: str) -> dict[str, int]:
            seconds = found.get((f"rnnx_{what}_seconds_sum", name), 0.0)
            return {"count": int(found.get((f"rnnx_{what}_seconds_count", name), 0)), "ns": round(seconds * 1e9)}

        def of_model(name: str) -> dict[str, Any]:
            computed, nothing = pair(name, "compute"), {"count": 0, "ns": 0}
            return {
                "name": name,
                "version": "1",
                "last_inference": round(found.get(("rnnx_last_request_timestamp_seconds", name), 0.0) * 1e3),
                "inference_count": int(found.get(("rnnx_batch_rows_sum", name), 0)),
                "execution_count": computed["count"],
                "inference_stats": {
                    "success": pair(name, "request"),
                    "fail": pair(name, "failed"),
                    "queue": pair(name, "queue"),
                    "compute_input": nothing,
                    "compute_infer": computed,
                    "compute_output": nothing,
                    "cache_hit": nothing,
                    "cache_miss": nothing,
                },
                "batch_stats": [],
            }

        return {"model_stats": [of_model(name) for name in names]}


class ModelMetrics:
    """Those of one model."""

    def __init__(self, metrics: Metrics, name: str):
        self._metrics, self._name = metrics, name
        self._requests: dict[int, Any] = {}
        self._told = 0.0  # what was said about the last request
        self.seconds, self._last = metrics.seconds.labels(name), metrics.last.labels(name)
        self.failed, self.queued = metrics.failed.labels(name), metrics.queued.labels(name)
        self.computed = metrics.computed.labels(name)
        self.batch_rows = metrics.rows.labels(name)
        self.waiting, self.alive = metrics.waiting.labels(name), metrics.alive.labels(name)
        self.loads = {result: metrics.loads.labels(name, result) for result in ("loaded", "failed")}

    def count(self, status: int, seconds: float) -> None:
        """A request that was answered."""
        if status == 200:
            self.seconds.observe(seconds)
            now = time.time()
            if abs(now - self._told) > RESOLUTION:
                self._told = now
                self._last.set(now)
        else:
            self.failed.observe(seconds)
        counter = self._requests.get(status)
        if counter is None:
            counter = self._requests[status] = self._metrics.requests.labels(self._name, str(status))
        counter.inc()

    def called(self, rows: int, seconds: float) -> None:
        """A call of the model has ended."""
        self.batch_rows.observe(rows)
        self.computed.observe(seconds)
