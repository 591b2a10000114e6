"""`make mutants`: put faults into modules, one at a time, and report those that no test finds.

The exit status is 1 when tests fail without a fault, or when the list of equivalent mutants is stale.
"""

import argparse
import sys
import tempfile
from pathlib import Path

from mutants.listed import PAGE, listed
from mutants.modules import SOURCE, chosen, source_of
from mutants.mutations import mutants_of
from mutants.report import mistakes, survivors, table
from mutants.trials import Trials
from mutants.trying import Module, try_all


def main() -> int:
    """Parse the options, run, print the report, and return the exit status."""
    parser = argparse.ArgumentParser(prog="python -m mutants.run", description=__doc__)
    parser.add_argument("--minutes", type=float, default=10.0)
    parser.add_argument("--module", default="", help="one of mutants/modules.py, or a folder of them; all by default")
    parser.add_argument("--seed", type=int, default=0, help="seed of the order, and so of the sample in limited time")
    options = parser.parse_args()
    try:
        names = chosen(options.module)
    except ValueError as error:
        parser.error(str(error))
    entries = listed(PAGE.read_text())
    with tempfile.TemporaryDirectory(prefix="antiphon-mutants-") as folder:
        sources = {name: source_of(name).read_text() for name in names}
        modules = [Module(name, text, mutants_of(text), entries, options.seed) for name, text in sources.items()]
        try_all(modules, Trials(Path.cwd(), Path(folder)), options.minutes * 60, sys.stderr)
    found = [module.findings for module in modules]
    wrong = mistakes(found)
    sys.stdout.write("\n\n".join(filter(None, (survivors(found, SOURCE), table(found), "\n".join(wrong)))) + "\n")
    return 1 if wrong else 0


if __name__ == "__main__":
    sys.exit(main())
