"""Options that several commands have."""

from __future__ import annotations

from typing import Annotated

import typer

StoreUrl = Annotated[
    str | None, typer.Option("--store", metavar="URL", help="Where calls are kept, such as redis://localhost:6379/0.")
]
AsJson = Annotated[bool, typer.Option("--json", help="Print JSON for scripts.")]
