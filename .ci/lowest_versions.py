"""Print each runtime dependency of pyproject.toml pinned to its lower bound, as a pip constraints file."""

import re
import sys
import tomllib
from pathlib import Path

RUNTIME_EXTRAS = ("cli", "otel", "phone", "postgres", "redis", "xlsx")

project = tomllib.loads((Path(__file__).parents[1] / "pyproject.toml").read_text(encoding="utf-8"))["project"]
requirements = list(project["dependencies"])
for extra in RUNTIME_EXTRAS:
    requirements += project["optional-dependencies"][extra]
for requirement in requirements:
    bound = re.fullmatch(r"([A-Za-z0-9._-]+)(?:\[[^]]*\])?>=([0-9][0-9.]*)", requirement.partition(";")[0].strip())
    if bound is None:
        sys.exit(f"pyproject.toml: {requirement!r} has no lower bound of the form name>=version")
    print(f"{bound[1]}=={bound[2]}")
