"""The Compose file: valid, without root, and with one worker for every queue there is."""

from __future__ import annotations

import importlib.resources
import json
import re
from pathlib import Path
from typing import Any

import click
import jsonschema
import pytest
import yaml

from channels.kit.discovery import discover, providers
from domain import jobs
from ops.cli.main import main

_ROOT = Path(__file__).parents[2]


@pytest.fixture(scope="module")
def compose() -> dict[str, Any]:
    loaded: dict[str, Any] = yaml.safe_load((_ROOT / "docker-compose.yml").read_text())
    return loaded


def test_it_is_valid_by_the_compose_specification(compose: dict[str, Any]) -> None:
    vendored = importlib.resources.files("check_jsonschema") / "builtin_schemas" / "vendor" / "compose-spec.json"
    schema = json.loads(vendored.read_text())

    jsonschema.validate(compose, schema)

    with pytest.raises(jsonschema.ValidationError):
        jsonschema.validate({**compose, "services": {"web": {"command": 8080}}}, schema)


def test_every_command_is_one_of_the_command_line(compose: dict[str, Any]) -> None:
    commands = _commands(compose)

    assert {"migrate", "web", "clock", "worker"} == {command[0] for command in commands.values()}
    for command in commands.values():
        _parse(command)


def test_a_command_that_does_not_exist_is_found_out() -> None:
    with pytest.raises(click.UsageError):
        _parse(["no-such-command"])


def test_every_queue_has_exactly_one_worker_service(compose: dict[str, Any]) -> None:
    served = [command[1] for command in _commands(compose).values() if command[0] == "worker"]

    assert sorted(served) == sorted(_queues())


def test_a_worker_service_is_named_after_its_queue(compose: dict[str, Any]) -> None:
    workers = {name: command[1] for name, command in _commands(compose).items() if command[0] == "worker"}

    assert {name: f"worker-{queue.replace('.', '-')}" for name, queue in workers.items()} == {n: n for n in workers}


def test_no_service_runs_as_root(compose: dict[str, Any]) -> None:
    users = {name: str(service.get("user", "root")).partition(":")[0] for name, service in compose["services"].items()}

    assert [name for name, user in users.items() if user in {"root", "0"}] == []


def test_every_long_running_service_has_a_healthcheck(compose: dict[str, Any]) -> None:
    without = {name for name, service in compose["services"].items() if "healthcheck" not in service}

    assert without == {"migrate"}


def test_services_wait_for_services_that_exist_and_can_tell_they_are_ready(compose: dict[str, Any]) -> None:
    services = compose["services"]

    for service in services.values():
        for needed, condition in service.get("depends_on", {}).items():
            if condition["condition"] == "service_healthy":
                assert "healthcheck" in services[needed]
            else:
                assert (needed, condition["condition"]) == ("migrate", "service_completed_successfully")


def test_the_web_process_waits_for_nobody_for_providers_do_not_ask_twice(compose: dict[str, Any]) -> None:
    assert compose["services"]["web"]["depends_on"] == {}
    assert {name for name in _commands(compose) if not compose["services"][name]["depends_on"]} == {"web"}


def test_every_volume_used_is_declared_or_in_the_repository(compose: dict[str, Any]) -> None:
    sources = {
        volume.split(":")[0] for service in compose["services"].values() for volume in service.get("volumes", [])
    }

    named = {source for source in sources if not source.startswith("./")}
    assert named == set(compose["volumes"])
    assert [source for source in sources - named if not (_ROOT / source).is_dir()] == []


def test_prometheus_scrapes_every_process_of_the_fleet(compose: dict[str, Any]) -> None:
    scraped = yaml.safe_load((_ROOT / "ops/prometheus/prometheus.yml").read_text())["scrape_configs"]

    targets = {target for job in scraped for group in job.get("static_configs", []) for target in group["targets"]}

    served = {name: "8080" if name == "web" else "9100" for name in _commands(compose) if name != "migrate"}
    assert {f"{name}:{port}" for name, port in served.items()} - targets == set()
    assert {target.partition(":")[0] for target in targets} - set(compose["services"]) <= {"localhost"}


def test_the_example_environment_offers_every_setting_of_every_channel() -> None:
    offered = _example_names()

    for channel in providers().values():
        assert {setting.name for setting in channel.settings} - offered == set()


def test_the_example_environment_sets_up_every_channel_once_its_secrets_are_filled_in() -> None:
    example = (_ROOT / "ops/docker/env.example").read_text()
    offered = dict(re.findall(r"^#?([A-Z_]+)=(.*)$", example, re.MULTILINE))
    filled_in = {
        f"REACTIVATE_{name}_{what}": value
        for name in ("SMS", "SMS_SECOND")
        for what, value in (("ACCOUNT_SID", "AC1"), ("AUTH_TOKEN", "secret"))
    }

    for name, channel in providers().items():
        assert channel.configure({**offered, **filled_in}, offered["REACTIVATE_PUBLIC_URL"]) is not None, name


def test_the_example_environment_offers_what_the_compose_file_demands() -> None:
    demanded = set(re.findall(r"\$\{(\w+)", (_ROOT / "docker-compose.yml").read_text()))

    assert demanded
    assert demanded - _example_names() == set()


def test_the_example_environment_holds_no_secret() -> None:
    secret = re.compile(r"(PASSWORD|TOKEN|KEYS?|SID)=(.+)$", re.MULTILINE)

    assert secret.findall((_ROOT / "ops/docker/env.example").read_text()) == []


def test_the_image_is_built_from_hashes_and_does_not_run_as_root() -> None:
    dockerfile = (_ROOT / "ops/docker/Dockerfile").read_text()

    copied = re.findall(r"^COPY (?!--from)(.+) \S+$", dockerfile, re.MULTILINE)
    assert [name for names in copied for name in names.split() if not (_ROOT / name).exists()] == []
    assert "--require-hashes" in dockerfile
    assert re.findall(r"^USER (.+)$", dockerfile, re.MULTILINE) == ["10001:10001"]


def _commands(compose: dict[str, Any]) -> dict[str, list[str]]:
    """The arguments after `reactivate`, of the services that run our image."""
    commands = {
        name: service["command"]
        for name, service in compose["services"].items()
        if service["image"] == "patient-reactivation-fleet"
    }
    assert {command[0] for command in commands.values()} == {"reactivate"}
    return {name: command[1:] for name, command in commands.items()}


def _queues() -> set[str]:
    shared = {value for name, value in vars(jobs).items() if name.isupper() and isinstance(value, str)}
    of_channels = {job(name, ()).queue for name in discover() for job in (jobs.send_touches, jobs.send_answers)}
    return shared | of_channels


def _parse(arguments: list[str]) -> None:
    """Let click read the arguments down to the last command, running none. Raises click.UsageError."""
    command: click.Command = main
    parent: click.Context | None = None
    while isinstance(command, click.Group):
        with command.make_context(command.name, list(arguments), parent=parent) as context:
            name, found, arguments = command.resolve_command(context, [*context._protected_args, *context.args])
            assert found is not None, name
            command, parent = found, context
    with command.make_context(command.name, arguments, parent=parent):
        pass


def _example_names() -> set[str]:
    return set(re.findall(r"^#?([A-Z_]+)=", (_ROOT / "ops/docker/env.example").read_text(), re.MULTILINE))
