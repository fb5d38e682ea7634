"""What the schema of the HTTP interface says is what the server does, whatever is sent within it and beside it."""

from collections.abc import Iterator
from typing import Any

import pytest
import schemathesis
from hypothesis import HealthCheck, settings
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import response_schema_conformance, status_code_conformance
from serve_fakes import FakeAssistant, running

CHECKS: list[Any] = [not_a_server_error, response_schema_conformance, status_code_conformance]
OPERATIONS = 8  # that there are at least


@pytest.fixture(scope="module")
def interface() -> Iterator[Any]:
    with running(FakeAssistant("hi")) as address:
        yield schemathesis.openapi.from_url(f"http://{address}/openapi.json")


schema = schemathesis.pytest.from_fixture("interface")


def tries(count: int) -> settings:
    return settings(max_examples=count, derandomize=True, deadline=None, suppress_health_check=[*HealthCheck])


def test_routes_are_in_the_schema(interface):
    assert len(list(interface.get_all_operations())) >= OPERATIONS


@schema.parametrize()
@tries(6)
def test_answers_are_those_of_the_schema(case):
    case.call_and_validate(checks=CHECKS)


@pytest.mark.slow
@schema.parametrize()
@tries(500)
def test_answers_are_those_of_the_schema_for_long(case):
    case.call_and_validate(checks=CHECKS)
