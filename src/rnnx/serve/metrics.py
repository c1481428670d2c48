"""What is counted, for Prometheus."""

from __future__ import annotations

import os
from typing import Any

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, generate_latest
from prometheus_client.multiprocess import MultiProcessCollector

SECONDS = (1e-4, 2.5e-4, 5e-4, 1e-3, 2.5e-3, 5e-3, 1e-2, 2.5e-2, 5e-2, 0.1, 0.25, 0.5, 1, 2.5, 5, 10)
ROWS = (1, 2, 4, 8, 16, 32, 64, 128, 256)


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
        self.loads = Counter("rnnx_model_loads", "Model files read again", ("model", "result"), registry=registry)

    def of_model(self, name: str) -> ModelMetrics:
        return ModelMetrics(self, name)

    def text(self) -> bytes:
        """All of them in the text format of Prometheus."""
        registry = self._registry
        if "PROMETHEUS_MULTIPROC_DIR" in os.environ:
            registry = CollectorRegistry()
            MultiProcessCollector(registry)
        text: bytes = generate_latest(registry)
        return text


class ModelMetrics:
    """Those of one model."""

    def __init__(self, metrics: Metrics, name: str):
        self._metrics, self._name = metrics, name
        self._requests: dict[int, Any] = {}
        self.seconds = metrics.seconds.labels(name)
        self.batch_rows = metrics.rows.labels(name)
        self.waiting, self.alive = metrics.waiting.labels(name), metrics.alive.labels(name)
        self.loads = {result: metrics.loads.labels(name, result) for result in ("loaded", "failed")}

    def count(self, status: int) -> None:
        """A request that was answered."""
        counter = self._requests.get(status)
        if counter is None:
            counter = self._requests[status] = self._metrics.requests.labels(self._name, str(status))
        counter.inc()
