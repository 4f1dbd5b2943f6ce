"""The source files behind a result: what has to run again, or start afresh, when code changes."""

import ast
import functools
from importlib.util import resolve_name
from pathlib import Path

from metarl.errors import InputError


def sources(*modules: str, root: str = "src") -> list[str]:
    """The source files that decide what `modules` do: their own, and those of all that they import.

    A rule that takes them as input runs again when one of them changes, and only then. Imports
    count wherever they stand, inside functions too; importing a module runs the packages around
    it, so their files belong to the list.

    Args:
      modules: dotted names, such as "metarl.training".
      root: the folder of top-level packages.

    Returns:
      Paths that start with `root`, sorted.

    Raises:
      ModuleNotFoundError: one of `modules` has no file below `root`.
    """
    for module in modules:
        if _file(module, root) is None:
            raise ModuleNotFoundError(f"no source file of {module} below {root}")
    found: dict[str, Path] = {}
    waiting = list(modules)
    while waiting:
        name = waiting.pop()
        path = _file(name, root)
        if path is None or name in found:
            continue
        found[name] = path
        waiting.extend(_imports(name, path))
        waiting.append(name.rpartition(".")[0])
    return sorted(str(path) for path in found.values())


def environment_module(name: str) -> str:
    """The module of an environment. Its registration names it in a string, which is no import.

    Raises:
      InputError: no such environment.
    """
    import gymnasium

    from metarl.environments import NAMES

    if name not in NAMES:
        raise InputError(f"environment {name!r} is unknown; choose one of {', '.join(NAMES)}")
    return gymnasium.spec(f"metarl/{name}-v0").vector_entry_point.partition(":")[0]


def _file(module: str, root: str) -> Path | None:
    """The file of `module` below `root`; None for standard, third-party and absent modules."""
    if not module:
        return None
    stem = Path(root, *module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


@functools.cache
def _imports(module: str, path: Path) -> tuple[str, ...]:
    """The absolute names that the file imports; for `from a import b` both a and a.b."""
    package = module if path.name == "__init__.py" else module.rpartition(".")[0]
    names = []
    for node in ast.walk(ast.parse(path.read_text(), filename=path)):
        if isinstance(node, ast.Import):
            names.extend(alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom):
            origin = resolve_name("." * node.level + (node.module or ""), package)
            names.extend([origin, *(f"{origin}.{alias.name}" for alias in node.names)])
    return tuple(names)
