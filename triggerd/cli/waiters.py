"""`triggerd waiters`: which waits there are, what they mean, and whether one's own are right."""

import json
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import Any

import click

from triggerd.aws.checks import Problem, check_file
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, new_loader
from triggerd.cli.options import config_option, for_people, read_settings
from triggerd.cli.show import print_facts
from triggerd.cli.wait_arguments import example

EXIT_PROBLEMS = 1


@click.group()
def waiters() -> None:
    """List, show and check waiters: botocore's own, the shipped ones, and those of your folders."""


@waiters.command("ls")
@click.argument("service", required=False)
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout.")
def ls(service: str | None, *, config: Path | None, as_json: bool) -> None:
    """List the waiters, all or those of SERVICE."""
    rows = [_summary(definition) for definition in _loader(config).all(service)]
    if as_json:
        click.echo(json.dumps(rows))
        return
    table: list[tuple[str, ...]] = [("SERVICE", "WAITER", "OPERATION", "DELAY", "ATTEMPTS", "SOURCE")]
    table += [tuple(str(value) for value in row.values()) for row in rows]
    for line in _columns(table):
        click.echo(line)


@waiters.command("show")
@click.argument("service")
@click.argument("waiter")
@config_option
@click.option("--json", "as_json", is_flag=True, help="The definition as its file has it.")
def show(service: str, waiter: str, *, config: Path | None, as_json: bool) -> None:
    """Show one waiter: what it asks, what decides, and how to try it."""
    loader = _loader(config)
    definition = loader.get(service, waiter)
    if as_json:
        click.echo(json.dumps(definition.raw, indent=2))
        return
    operation = loader.models.operation(service, definition.operation)
    description = definition.raw.get("description")
    print_facts(
        {
            "waiter": definition.label,
            "source": f"{definition.source}{f' ({definition.file})' if definition.file else ''}",
            "means": description,
            "operation": definition.operation,
            "budget": f"{definition.max_attempts} polls, {definition.delay:g} s apart: "
            f"{for_people(definition.delay * (definition.max_attempts - 1))}",
            "parameters": _parameters(operation),
        }
    )
    click.echo("acceptors, the first that matches decides:")
    for acceptor in definition.acceptors.rules:
        click.echo(f"  {acceptor}")
    click.echo(f"try it: triggerd wait {service} {definition.name} {example(operation)}".rstrip())


@waiters.command("check")
@click.argument(
    "paths", nargs=-1, required=True, metavar="FILE|FOLDER...", type=click.Path(path_type=Path, exists=True)
)
@click.option("--json", "as_json", is_flag=True, help="A JSON list of problems on stdout.")
@click.pass_context
def check(ctx: click.Context, paths: tuple[Path, ...], *, as_json: bool) -> None:
    """Check waiter files against the format and against AWS's service models. Exit 1 where anything is wrong.

    The file's name is the service: redshift.json. Found are typos in keys and states, operations and paths that do not
    exist, and statuses that no acceptor has a word for.
    """
    models = ServiceModels(new_loader())
    files = list(_files(paths))
    found = [(file, problem) for file in files for problem in check_file(file, models)]
    if as_json:
        click.echo(json.dumps([_problem(file, problem) for file, problem in found], default=str))
    else:
        for file, problem in found:
            click.echo(f"{file}: {problem}")
        if not found:
            click.echo(f"{len(files)} file{'' if len(files) == 1 else 's'} checked, nothing wrong")
    ctx.exit(EXIT_PROBLEMS if found else 0)


def _loader(config: Path | None) -> Waiters:
    return Waiters(read_settings(config).aws.waiter_folders, ServiceModels(new_loader()))


def _summary(definition: WaiterDefinition) -> dict[str, Any]:
    return {
        "service": definition.service,
        "waiter": definition.name,
        "operation": definition.operation,
        "delay": f"{definition.delay:g}",
        "max_attempts": definition.max_attempts,
        "source": definition.source,
    }


def _parameters(operation: Any) -> str:
    shape = operation.input_shape
    if shape is None:
        return "none"
    return ", ".join(f"{name}{' (required)' if name in shape.required_members else ''}" for name in shape.members)


def _files(paths: Iterable[Path]) -> Iterator[Path]:
    for path in paths:
        # states.json beside the shipped waiters is a list of statuses, no waiter file.
        yield from sorted(set(path.glob("*.json")) - {path / "states.json"}) if path.is_dir() else [path]


def _problem(file: Path, problem: Problem) -> dict[str, Any]:
    where = {"file": str(file), "waiter": problem.waiter, "key": problem.key}
    return where | {"value": problem.value, "problem": problem.why}


def _columns(table: list[tuple[str, ...]]) -> Iterator[str]:
    widths = [max(len(row[column]) for row in table) for column in range(len(table[0]))]
    for row in table:
        yield "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
