"""Which of our queues listens to which events."""

from __future__ import annotations

from collections.abc import Mapping

from domain.jobs import ENROL, INTAKE

#: Queue -> bindings. Intake hears everything: an unknown type or a wrong routing key must end in quarantine, not in
#: nothing; our own outgoing events are passed over there by routing key and source.
TOPOLOGY: Mapping[str, tuple[str, ...]] = {INTAKE: ("#",), ENROL: ("inactivity.detected",)}
