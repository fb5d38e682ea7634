"""What the schema of the HTTP interface says is what the server does, whatever is sent within it and beside it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, given, settings
from schemathesis import GenerationMode
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from serve_fakes import FakeAssistant, running

CHECKS: list[Any] = [not_a_server_error, response_schema_conformance, status_code_conformance]
OPERATIONS = 8  # that there are at least


@pytest.fixture(scope="module")
def interface() -> Iterator[Any]:
    with running(FakeAssistant("hi")) as address:
        yield schemathesis.openapi.from_url(f"http://{address}/openapi.json")


def check_operations(interface: Any, count: int) -> int:
    """Send every operation so many requests within the schema, and as many that break it; return how many there are."""
    operations = [found.ok() for found in interface.get_all_operations()]
    for operation in operations:
        for mode in GenerationMode if operation.body else [GenerationMode.POSITIVE]:

            @settings(max_examples=count, database=None, suppress_health_check=[*HealthCheck])
            @given(case=operation.as_strategy(generation_mode=mode))
            def answers(case: Any) -> None:
                case.call_and_validate(checks=CHECKS)

            answers()
    return len(operations)


def test_answers_are_those_of_the_schema(interface):
    assert check_operations(interface, 5) >= OPERATIONS


@pytest.mark.slow
def test_answers_are_those_of_the_schema_for_long(interface):
    check_operations(interface, 500)
