"""``antiphon models``: what a server serves, or what this machine has."""

from typing import Any

import anyio
from rich.table import Table

from antiphon.cli import display
from antiphon.cli.conversation import open_client, served_models
from antiphon.cli.hub import Hub
from antiphon.cli.model_files import bundled_model
from antiphon.cli.wiring import hub_folder
from antiphon.engine.tokenizer import Tokenizer
