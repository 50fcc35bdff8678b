"""List the recipes, or write one's settings into params.yaml.

A recipe is a set of settings that serve for a kind of images, with what to expect of them
(docs/training.md). Settings that it does not name stay as they are.
"""

from pipeline import cli
from pipeline.params.edit import change_settings
from vaelab.recipes import read_recipe, recipe_names, recipe_notes


def main() -> None:
    """Run the command."""
    parser = cli.parser(__doc__, "make recipe NAME=faces_64 runs it.")
    parser.add_argument("name", nargs="?", help="the recipe to write; without, all are listed")
    arguments = parser.parse_args()

    def work() -> None:
        if arguments.name is None:
            print(
                "\n\n".join(f"{name}\n{_indented(recipe_notes(name))}" for name in recipe_names())
            )
            return
        changes = read_recipe(arguments.name)
        print(change_settings(arguments.params, changes))
        print("`dvc repro` trains and evaluates a model with them")

    cli.run_command(work, resume_hint="run the same command again")


def _indented(text: str) -> str:
    return "\n".join(f"  {line}".rstrip() for line in text.splitlines())


if __name__ == "__main__":
    main()
