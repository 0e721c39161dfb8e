"""The commands' names, options and help; what they do stands in the modules beside this one.

Each imports its module when it is called: all of them together take 2.5 s to import, so that `amity --help` took three.
"""

from pathlib import Path
from typing import Annotated

import typer

from service.cli import experiment_commands
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
app.add_typer(experiment_commands.group, name="experiments")

Json = Annotated[bool, typer.Option("--json", help="Answer in JSON on stdout.")]
DEMO_PEOPLE = 5000
DEMO_SEED = 20261123
TRAINING_SEED = 7
LOCK_WAIT_S = 300.0


@app.command()
def up(
    people: Annotated[int, typer.Option(min=100, help="Size of the demo population.")] = DEMO_PEOPLE,
    seed: Annotated[int, typer.Option(help="Seed of the demo population.")] = DEMO_SEED,
) -> None:
    """Start everything: servers, schema, demo people if nobody is there, a bundle if none is live, the service."""
    from service.cli import run

    run.up(load(), people, seed)


@app.command()
def serve(
    embedded: Annotated[bool, typer.Option("--embedded", help="Join or start the private servers of AMITY_HOME.")] = False,
) -> None:
    """Serve one replica. Needs AMITY_DATABASE_URL and AMITY_REDIS_URL, or --embedded."""
    from service.cli import run

    run.serve(load(), embedded)


@app.command()
def migrate(
    contract: Annotated[bool, typer.Option("--contract", help="Also take away what only earlier versions use.")] = False,
    back_to: Annotated[str | None, typer.Option(help="Undo what came after this revision; what it added is lost.")] = None,
    wait_s: Annotated[float, typer.Option(min=0, help="How long to try for a lock, seconds.")] = LOCK_WAIT_S,
    as_json: Json = False,
) -> None:
    """Bring the schema up to what this version needs, while replicas serve; safe to run from several machines at once."""
    from service.cli import schema

    schema.move(load(), schema.Way(contract, back_to, wait_s), as_json)


@app.command(name="import")
def import_(
    people: Annotated[Path | None, typer.Option(help="CSV, JSON Lines or Parquet of people.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="CSV, JSON Lines or Parquet of interactions.")] = None,
    max_rejects: Annotated[int, typer.Option(min=0, help="Refused rows that are still a success.")] = 0,
    rejects: Annotated[Path | None, typer.Option(help="Folder of the rejects files; the data file's own by default.")] = None,
    as_json: Json = False,
) -> None:
    """Import people and interactions; can be run again, and goes on where it was cut off."""
    from service.cli import data

    data.import_files(load(), data.ImportFiles(people, interactions, rejects, max_rejects), as_json)


@app.command()
def export(
    people: Annotated[Path | None, typer.Option(help="Write the people here: .csv, .jsonl or .parquet.")] = None,
    interactions: Annotated[Path | None, typer.Option(help="Write the interactions here.")] = None,
    as_json: Json = False,
) -> None:
    """Write what the database holds, in the formats that import reads."""
    from service.cli import data

    data.export_files(load(), people, interactions, as_json)


@app.command()
def demo(
    people: Annotated[int, typer.Option(min=100, help="Size of the population.")] = DEMO_PEOPLE,
    seed: Annotated[int, typer.Option(help="Seed: the same one makes the same people.")] = DEMO_SEED,
    as_json: Json = False,
) -> None:
    """Fill an empty database with a made-up population; refuses where anyone is."""
    from service.cli import data

    data.fill_demo(load(), people, seed, as_json)


@app.command()
def train(
    force: Annotated[bool, typer.Option("--force", help="Publish even a bundle that is worse than the live one.")] = False,
    seed: Annotated[int, typer.Option(help="Seed of everything that is drawn.")] = TRAINING_SEED,
    as_json: Json = False,
) -> None:
    """Train a bundle on what the database holds, evaluate it, and publish it."""
    from service.cli import bundles as bundle_commands

    bundle_commands.train(load(), force, seed, as_json)


@bundles.command("list")
def bundles_list(as_json: Json = False) -> None:
    """All bundles, newest first."""
    from service.cli import bundles as bundle_commands

    bundle_commands.show(load(), as_json)


@bundles.command("promote")
def bundles_promote(version: str, as_json: Json = False) -> None:
    """Make a bundle the live one, once it has been opened and checked."""
    from service.cli import bundles as bundle_commands

    bundle_commands.promote(load(), version, as_json)


@bundles.command("rollback")
def bundles_rollback(as_json: Json = False) -> None:
    """Make the bundle that was live before the live one again."""
    from service.cli import bundles as bundle_commands

    bundle_commands.rollback(load(), as_json)


@rankers.command("list")
def rankers_list(as_json: Json = False) -> None:
    """Installed rankers, whether the live bundle has them, and why one cannot be used."""
    from service.cli import rankers as ranker_commands

    ranker_commands.show(load(), as_json)


@rankers.command("check")
def rankers_check(
    name: str,
    law_s: Annotated[float, typer.Option(min=1, help="Seconds that one law may take.")] = 120,
    as_json: Json = False,
) -> None:
    """Hold an installed ranker, or source, to its contract; exit code 1 when it breaks a law."""
    from service.cli import rankers as ranker_commands

    if not ranker_commands.check(name, law_s, as_json):
        raise typer.Exit(1)


@rankers.command("new")
def rankers_new(
    name: str,
    folder: Annotated[Path, typer.Option(help="Folder to make the package's own folder in.")] = Path(),
    as_json: Json = False,
) -> None:
    """Write a package with a ranker that learns, its tests and a README; nothing is overwritten."""
    from service.cli import rankers as ranker_commands

    ranker_commands.new(name, folder, as_json)


@app.command(name="doctor")
def doctor_(as_json: Json = False) -> None:
    """Check settings, servers, schema, bundles and plug-ins; exit code 1 when something is wrong."""
    from service.cli import doctor

    if not doctor.examine(load(), as_json):
        raise typer.Exit(1)
