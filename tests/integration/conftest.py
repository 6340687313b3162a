"""Fixtures: private servers, one for all tests of a process; each test that harms one gets its own."""

from __future__ import annotations

from collections.abc import Iterator

import pytest

from tests.support.services import Service, postgres_server, redis_server


@pytest.fixture(scope="session")
def redis_service() -> Iterator[Service]:
    """A Redis server, for tests that use names of their own and leave it alone."""
    with redis_server() as service:
        yield service


@pytest.fixture(scope="session")
def postgres_service() -> Iterator[Service]:
    """A PostgreSQL server, for tests that use names of their own and leave it alone."""
    with postgres_server() as service:
        yield service


@pytest.fixture(params=["redis", "postgres"])
def service(request: pytest.FixtureRequest) -> Service:
    """Each of the two servers in turn."""
    found: Service = request.getfixturevalue(f"{request.param}_service")
    return found


@pytest.fixture(params=["redis", "postgres"])
def own_service(request: pytest.FixtureRequest) -> Service:
    """Each of the two servers in turn, for the test alone."""
    found: Service = request.getfixturevalue(f"own_{request.param}")
    return found


@pytest.fixture
def own_redis() -> Iterator[Service]:
    """A Redis server that the test may kill or suspend."""
    with redis_server() as service:
        yield service


@pytest.fixture
def own_postgres() -> Iterator[Service]:
    """A PostgreSQL server that the test may kill or suspend."""
    with postgres_server() as service:
        yield service
