"""The source files behind a result: what has to run again, or start afresh, when code changes."""

import ast
import functools
import sys
from importlib.util import resolve_name
from pathlib import Path


def sources(*modules: str, root: str = "src") -> list[str]:
    """The source files that decide what `modules` do: their own, and those of all that they import.

    A rule that takes them as input runs again when one of them changes, and only then. Imports
    count wherever they stand, inside functions too; importing a module runs the packages around
    it, so their files belong to the list.

    Args:
      modules: dotted names, such as "metarl.training". Of a plug-in, which has no file below `root`
        and must have been imported, the file counts, and of its imports those below `root`.
      root: the folder of top-level packages.

    Returns:
      Paths that start with `root`, and those of plug-ins, relative below the working directory;
      sorted.

    Raises:
      ModuleNotFoundError: one of `modules` has no file.
    """
    files: dict[str, Path] = {}
    waiting = []
    for module in modules:
        path = _file(module, root) or _plug_in_file(module)
        if path is None:
            raise ModuleNotFoundError(f"no source file of {module}, below {root} or imported")
        waiting.append((module, path))
    while waiting:
        name, path = waiting.pop()
        if name in files:
            continue
        files[name] = path
        for imported in (*_imports(name, path), name.rpartition(".")[0]):
            if below_root := _file(imported, root):
                waiting.append((imported, below_root))
    return sorted(map(str, files.values()))


def environment_module(name: str) -> str:
    """The module of an environment. Its registration names it in a string, which is no import.

    Raises:
      InputError: no such environment.
    """
    from metarl.environments import entry_point

    return entry_point(name).partition(":")[0]


def _file(module: str, root: str) -> Path | None:
    """The file of `module` below `root`; None for standard, third-party and absent modules."""
    if not module:
        return None
    stem = Path(root, *module.split("."))
    candidates = (stem.with_suffix(".py"), stem / "__init__.py")
    return next((path for path in candidates if path.is_file()), None)


def _plug_in_file(module: str) -> Path | None:
    """The file of an imported module; None for what has none, or is not imported."""
    file = getattr(sys.modules.get(module), "__file__", None)
    if file is None:
        return None
    path, here = Path(file), Path.cwd()
    return path.relative_to(here) if path.is_relative_to(here) else path


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
