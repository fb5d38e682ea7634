"""What an operator's Prometheus reads."""

import threading
from collections.abc import Mapping

from prometheus_client import CollectorRegistry, Counter, Gauge, Histogram, ProcessCollector, generate_latest

_SECONDS = (0.05, 0.1, 0.2, 0.3, 0.5, 0.75, 1.0, 1.5, 2.0, 3.0, 5.0, 10.0, 30.0, 60.0, 120.0)
_METHODS = {"GET", "POST", "DELETE", "OPTIONS", "HEAD", "PUT", "PATCH"}


class Metrics:
    """Counts and times of one server, and what its process takes, in a registry of its own."""

    def __init__(self) -> None:
        self.registry = CollectorRegistry()
        ProcessCollector(registry=self.registry)  # memory, processor time, open files
        own = {"registry": self.registry, "namespace": "kimi_audio"}
        self._requests = Counter("requests", "HTTP requests.", ["method", "path", "status"], **own)
        self._request_s = Histogram("request_seconds", "Time of HTTP requests.", ["path"], buckets=_SECONDS, **own)
        self.sessions = Gauge("sessions", "Realtime conversations under way.", **own)
        self.sessions_refused = Counter("sessions_refused", "Conversations that found no place.", **own)
        self.stage_s = Histogram(
            "stage_seconds",
            "Time of the stages of a reply: hear (encoding a recording), first_text and first_audio (from the end of "
            "the user's turn), transcribe, reply (all of it).",
            ["stage"],
            buckets=_SECONDS,
            **own,
        )
        self.replies = Counter("replies", "Replies by how they ended.", ["status"], **own)
        self.prepared_replies = Counter(
            "prepared_replies",
            "Replies that were begun before the user's turn was over, by what came of them: used, given_up.",
            ["outcome"],
            **own,
        )
        self.jobs = Gauge("jobs", "Jobs of the model under way.", **own)
        # These three are set where the metrics are asked for.
        self.tasks = Gauge("tasks", "Tasks of the event loop.", **own)
        self.kept_turns = Gauge("kept_turns_bytes", "Memory of earlier turns, from which later ones go on.", **own)
        self.kept_conversations = Gauge(
            "kept_conversations_bytes", "Memory of conversations that may be taken up again.", **own
        )
        Gauge("threads", "Threads of Python.", **own).set_function(threading.active_count)
        self.instances_ready = Gauge("instances_ready", "Instances of a stage that work.", ["stage"], **own)
        self.instance_restarts = Counter(
            "instance_restarts",
            "Instances that were started anew, by what was wrong: failed, stalled.",
            ["stage", "reason"],
            **own,
        )
        self.heard_s = Counter("heard_seconds", "Sound that was heard.", **own)
        self.spoken_s = Counter("spoken_seconds", "Sound that was spoken.", **own)

    def request_done(self, method: str, path: str, status: int, took_s: float) -> None:
        """Count a request; the path is that of the route, not what the client wrote."""
        self._requests.labels(method if method in _METHODS else "other", path, str(status)).inc()
        self._request_s.labels(path).observe(took_s)

    def reply_done(self, status: str, seconds: Mapping[str, float]) -> None:
        """Count a reply of a conversation and how long its stages took."""
        self.replies.labels(status).inc()
        for stage, took_s in seconds.items():
            self.stage_s.labels(stage).observe(took_s)

    def text(self) -> bytes:
        """Return all of them in Prometheus's format."""
        return generate_latest(self.registry)
