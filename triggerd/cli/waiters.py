"""`triggerd waiters`: which waits there are, what they mean, and whether one's own are right."""

import json
import textwrap
from collections.abc import Iterable, Iterator, Mapping
from dataclasses import asdict
from itertools import groupby
from pathlib import Path
from typing import Any

import click
from botocore import xform_name

from triggerd.aws.acceptors import PATH_MATCHERS, STATES, Acceptor
from triggerd.aws.checks import Problem, check_file, uncovered, waiter_files
from triggerd.aws.forms import read_forms
from triggerd.aws.waiters import ServiceModels, WaiterDefinition, Waiters, new_loader
from triggerd.cli import exits
from triggerd.cli.options import config_option, read_settings
from triggerd.cli.output import counted, for_people, print_facts, print_table, printable, to_json
from triggerd.cli.wait_arguments import example
from triggerd.errors import WaiterDefinitionError

_COLUMNS = {
    "SERVICE": "service", "WAITER": "waiter", "OPERATION": "operation", "DELAY": "delay", "ATTEMPTS": "max_attempts",
    "SOURCE": "source", "NEEDS": "needs",
}  # fmt: skip
_VALUES_WIDTH = 70


@click.group()
def waiters() -> None:
    """List, explain and check waiters.

    A waiter says which AWS call to repeat, how often, and which answers mean success or failure. They come from your
    folders (the setting aws.waiter_folders, or TRIGGERD_AWS__WAITER_FOLDERS), from triggerd, and from botocore; the
    first that has the name counts.

    \b
        triggerd waiters ls glue
        triggerd waiters show glue job_complete
        triggerd waiters check my-waiters/
    """


@waiters.command("ls")
@click.argument("service", required=False)
@click.option("--text", "texts", multiple=True, metavar="TEXT",
              help="Only those with TEXT in their name, operation, description or statuses.")  # fmt: skip
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON list on stdout, with the statuses of each state.")
def ls(service: str | None, *, texts: tuple[str, ...], config: Path | None, as_json: bool) -> None:
    """List the waiters: all of them, or those of SERVICE.

    DELAY is the time between two polls in seconds, ATTEMPTS how many there are at most, SOURCE whose waiter it is: user
    (your folders), shipped (triggerd's) or botocore. NEEDS are the parameters that must be given.
    """
    loader = _loader(config)
    if service is not None:
        loader.models.get(service)  # an unknown service is said, not shown as one without waiters

    def wrong(error: WaiterDefinitionError) -> None:
        click.echo(printable(f"left out: {error}"), err=True)

    rows = [_summary(loader, definition) for definition in loader.all(service, wrong)]
    rows = [row for row in rows if all(text.lower() in _searched(row) for text in texts)]
    if as_json:
        click.echo(to_json(rows))
    elif rows:
        print_table(list(_COLUMNS), [[_cell(row[name]) for name in _COLUMNS.values()] for row in rows])
    elif texts:
        click.echo(f"no waiter{f' of {service}' if service else ''} has {' and '.join(map(repr, texts))} in it")
    else:
        click.echo(f"nobody has written a waiter for {service} yet; yours goes into a folder of aws.waiter_folders")


@waiters.command("show")
@click.argument("service")
@click.argument("waiter")
@config_option
@click.option("--json", "as_json", is_flag=True, help="The definition as its file has it.")
def show(service: str, waiter: str, *, config: Path | None, as_json: bool) -> None:
    """Explain one waiter: what it asks AWS, which answers decide, and how to try it."""
    loader = _loader(config)
    definition = loader.find(service, waiter)
    if as_json:
        click.echo(json.dumps(definition.raw, indent=2))
        return
    operation = loader.models.operation(service, definition.operation)
    templated = sorted(definition.parameters)
    lasts = for_people(definition.delay * (definition.max_attempts - 1))
    print_facts(
        {
            "waiter": f"{service} {_name(definition)}",
            "means": definition.raw.get("description"),
            "asks": f"{definition.operation} every {for_people(definition.delay)}, "
            f"{counted(definition.max_attempts, 'time')} at most: {lasts}",
            "together": _together(definition),
            "brings": f"parameters {', '.join(templated)}, for the acceptors" if templated else None,
            "source": f"{definition.source}{f', {definition.file}' if definition.file else ''}",
        }
    )
    click.echo()
    parameters = list(_parameters(operation))
    if parameters:
        print_table(["PARAMETER", "TYPE", ""], parameters)
        click.echo()
    if not definition.acceptors.rules:
        click.echo("It has no acceptors: the wait must bring them (acceptors=[...]).")
        return
    rules = [*_rules(definition.acceptors.rules)]
    for argument, values in uncovered(loader.models, definition).items():
        rules += _lines("none", "-", argument, values)
    print_table(["STATE", "MATCHER", "ARGUMENT", "EXPECTED"], rules)
    click.echo("\nThe first that matches decides. Where none does, it is asked again; an error then ends the wait.\n")
    more = [f"--parameter {name}=..." for name in templated]
    click.echo(" ".join(["triggerd wait", service, _name(definition), example(operation), *more]).rstrip())


@waiters.command("check")
@click.argument("paths", nargs=-1, metavar="[FILE|FOLDER]...", type=click.Path(path_type=Path, exists=True))
@config_option
@click.option("--json", "as_json", is_flag=True, help="A JSON list of problems on stdout.")
@click.pass_context
def check(ctx: click.Context, paths: tuple[Path, ...], *, config: Path | None, as_json: bool) -> None:
    """Check waiter files; without any named, those of your folders (aws.waiter_folders).

    The file's name is the service: redshift.json. Found are typos in keys and states, operations and paths that AWS
    does not have, and statuses that no acceptor has a word for.

    Exit status: 0 nothing wrong, 1 something is, 2 usage.
    """
    chosen = paths or tuple(Path(folder).expanduser() for folder in read_settings(config).aws.waiter_folders)
    files = list(waiter_files(chosen))
    if not files:
        where = " or ".join(map(str, chosen)) or "the configuration: name a FILE or FOLDER"
        raise click.UsageError(f"there is no waiter file in {where}")
    models = ServiceModels(new_loader())
    found = [(file, problem) for file in files for problem in check_file(file, models)]
    if as_json:
        click.echo(to_json([_facts(file, problem) for file, problem in found]))
    else:
        for file, problem in found:
            click.echo(printable(f"{file}: {problem}"))
        said = counted(len(found), "problem") if found else "nothing wrong"
        click.echo(f"{counted(len(files), 'file')} checked, {click.style(said, fg='red' if found else 'green')}")
    ctx.exit(exits.FAILURE if found else exits.SUCCESS)


def _facts(file: Path, problem: Problem) -> dict[str, Any]:
    facts = asdict(problem)
    why = facts.pop("why")
    return {"file": str(file), **facts, "problem": why}


def _loader(config: Path | None) -> Waiters:
    return Waiters(read_settings(config).aws.waiter_folders, ServiceModels(new_loader()))


def _together(definition: WaiterDefinition) -> str | None:
    """By which call several such waits are polled; AWS asks for a permission of its own for it."""
    for form in read_forms():
        if form.answers(definition.service, definition.operation) and form.answer.covers_all(
            definition.acceptors.reads
        ):
            many = f"up to {form.max} in one call" if form.ids else "all in one call"
            end = f"; an ending is confirmed by {form.single}" if form.partial else ""
            return f"with others of its kind by {form.merged}, {many}{end}"
    return None


def _name(definition: WaiterDefinition) -> str:
    """As one writes it in boto3: botocore's own are spelt in CamelCase in its files only."""
    name: str = xform_name(definition.name) if definition.source == "botocore" else definition.name
    return name


def _summary(loader: Waiters, definition: WaiterDefinition) -> dict[str, Any]:
    shape = loader.models.get(definition.service).operation_model(definition.operation).input_shape
    return {
        "service": definition.service,
        "waiter": _name(definition),
        "operation": definition.operation,
        "delay": definition.delay,
        "max_attempts": definition.max_attempts,
        "source": definition.source,
        "needs": list(shape.required_members) if shape is not None else [],
        "description": definition.raw.get("description"),
        "states": {
            state: list(dict.fromkeys(_when(rule) for rule in definition.acceptors.rules if rule.state == state))
            for state in STATES
        }
        | {"none": [value for values in uncovered(loader.models, definition).values() for value in values]},
    }


def _searched(row: Mapping[str, Any]) -> str:
    states = (value for values in row["states"].values() for value in values)
    return " ".join([row["waiter"], row["operation"], str(row["description"] or ""), *states]).lower()


def _when(rule: Acceptor) -> str:
    """What puts a wait into a state, in a word: ``available``, ``error ClusterNotFound``, an expression."""
    if rule.matcher in PATH_MATCHERS:
        if isinstance(rule.expected, str):
            return rule.expected
        return rule.argument if rule.expected is True and rule.argument else f"{rule.argument} is {rule.expected!r}"
    if isinstance(rule.expected, bool):
        return "any error" if rule.expected else "no error"
    return f"{'HTTP' if rule.matcher == 'status' else 'error'} {rule.expected}"


def _cell(value: Any) -> str:
    return f"{value:g}" if isinstance(value, float) else " ".join(value) if isinstance(value, list) else str(value)


def _rules(rules: Iterable[Acceptor]) -> Iterator[tuple[str, str, str, str]]:
    """A row for rules in a row that differ in the value alone; more rows where the values need more lines."""
    for (state, matcher, argument), group in groupby(rules, key=lambda rule: (rule.state, rule.matcher, rule.argument)):
        yield from _lines(state, matcher, argument or "-", [rule.expected for rule in group])


def _lines(state: str, matcher: str, argument: str, values: Iterable[Any]) -> Iterator[tuple[str, str, str, str]]:
    text = ", ".join(map(json.dumps, values))
    first, *others = textwrap.wrap(text, _VALUES_WIDTH, break_on_hyphens=False)
    yield state, matcher, argument, first
    yield from (("", "", "", line) for line in others)


def _parameters(operation: Any) -> Iterator[tuple[str, str, str]]:
    """Name, type and "required"; what is required first."""
    shape = operation.input_shape
    required = shape.required_members if shape is not None else ()
    members = shape.members if shape is not None else {}
    for name in sorted(members, key=lambda name: name not in required):
        member = members[name]
        kind = f"list of {member.member.type_name}" if member.type_name == "list" else member.type_name
        yield name, kind, "required" if name in required else ""
