"""The commands' names, options and help; what they do stands in the modules beside this one."""

import asyncio
from pathlib import Path
from typing import Annotated

import typer

from service.cli import bundles as bundle_commands
from service.cli import data, doctor, estimate, experiments, report, run
from service.cli import rankers as ranker_commands
from service.cli.output import answer
from service.cli.servers import with_servers
from service.repositories import migrate as migrations
from service.settings import load

app = typer.Typer(
    name="amity",
    help="Recommend people to people. `amity up` shows all of it on a machine that has nothing.",
    no_args_is_help=True,
    add_completion=False,
    pretty_exceptions_enable=False,
    rich_markup_mode=None,
)
bundles = typer.Typer(help="Trained bundles: list, promote, roll back.", no_args_is_help=True, rich_markup_mode=None)
rankers = typer.Typer(help="Rankers: list, check, start a new one.", no_args_is_help=True, rich_markup_mode=None)
app.add_typer(bundles, name="bundles")
app.add_typer(rankers, name="rankers")
app.add_typer(experiments.group, name="experiments")
estimate.add_to(experiments.group)
report.add_to(experiments.group)

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]
DEMO_PEOPLE = 5000
DEMO_SEED = 20261123
TRAINING_SEED = 7


@app.command()
def up(
    people: Annotated[int, typer.Option(min=100, help="Size of the demo population.")] = DEMO_PEOPLE,
    seed: Annotated[int, typer.Option(help="Seed of the demo population.")] = DEMO_SEED,
) -> None:
    """Start everything: servers, schema, demo people if nobody is there, a bundle if none is live, the service."""
    run.up(load(), people, seed)


@app.command()
def serve(
    embedded: Annotated[bool, typer.Option("--embedded", help="Join or start the private servers of AMITY_HOME.")] = False,
) -> None:
    """Serve one replica. Needs AMITY_DATABASE_URL and AMITY_REDIS_URL, or --embedded."""
    run.serve(load(), embedded)


@app.command()
def migrate(as_json: Json = False) -> None:
    """Bring the database's schema up to this version; safe to run from several machines at once."""
    with with_servers(load(), redis=False) as settings:
        applied = asyncio.run(migrations.upgrade(settings.database_url))
    lines = [f"applied {revision}" for revision in applied] or ["the schema is up to date"]
    answer({"applied": applied}, as_json, lines)


@app.command(name="import")
def import_(
    people: Annotated[Path | None, typer.Option(help="CSV, JSON Lines or Parquet of people.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="CSV, JSON Lines or Parquet of interactions.")] = None,
    max_rejects: Annotated[int, typer.Option(min=0, help="Refused rows that are still a success.")] = 0,
    rejects: Annotated[Path | None, typer.Option(help="Folder of the rejects files; the data file's own by default.")] = None,
    as_json: Json = False,
) -> None:
    """Import people and interactions; can be run again, and goes on where it was cut off."""
    data.import_files(load(), data.ImportFiles(people, interactions, rejects, max_rejects), as_json)


@app.command()
def export(
    people: Annotated[Path | None, typer.Option(help="Write the people here: .csv, .jsonl or .parquet.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="Write the interactions here.")] = None,
    as_json: Json = False,
) -> None:
    """Write what the database holds, in the formats that import reads."""
    data.export_files(load(), people, interactions, as_json)


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=100, help="Size of the population.")] = DEMO_PEOPLE,
    seed: Annotated[int, typer.Option(help="Seed: the same one makes the same people.")] = DEMO_SEED,
    as_json: Json = False,
) -> None:
    """Fill an empty database with a made-up population; refuses where anyone is."""
    data.fill_demo(load(), people, seed, as_json)


@app.command()
def train(
    force: Annotated[bool, typer.Option("--force", help="Publish even a bundle that is worse than the live one.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = TRAINING_SEED,
    as_json: Json = False,
) -> None:
    """Train a bundle on what the database holds, evaluate it, and publish it."""
    bundle_commands.train(load(), force, seed, as_json)


@bundles.command("list")
def bundles_list(as_json: Json = False) -> None:
    """All bundles, newest first."""
    bundle_commands.show(load(), as_json)


@bundles.command("promote")
def bundles_promote(version: str, as_json: Json = False) -> None:
    """Make a bundle the live one, once it has been opened and checked."""
    bundle_commands.promote(load(), version, as_json)


@bundles.command("rollback")
def bundles_rollback(as_json: Json = False) -> None:
    """Make the bundle that was live before the live one again."""
    bundle_commands.rollback(load(), as_json)


@rankers.command("list")
def rankers_list(as_json: Json = False) -> None:
    """Installed rankers, whether the live bundle has them, and why one cannot be used."""
    ranker_commands.show(load(), as_json)


@rankers.command("check")
def rankers_check(
    name: str,
    law_s: Annotated[float, typer.Option(min=1, help="Seconds that one law may take.")] = 120,
    as_json: Json = False,
) -> None:
    """Hold an installed ranker, or source, to its contract; exit code 1 when it breaks a law."""
    if not ranker_commands.check(name, law_s, as_json):
        raise typer.Exit(1)


@rankers.command("new")
def rankers_new(
    name: str,
    folder: Annotated[Path, typer.Option(help="Folder to make the package's own folder in.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a package with a ranker that learns, its tests and a README; nothing is overwritten."""
    ranker_commands.new(name, folder, as_json)


@app.command(name="doctor")
def doctor_(as_json: Json = False) -> None:
    """Check settings, servers, schema, bundles and plug-ins; exit code 1 when something is wrong."""
    if not doctor.examine(load(), as_json):
        raise typer.Exit(1)
