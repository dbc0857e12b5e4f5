"""Every public name of an installed petastorm, from its source: nothing of it is imported."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from dataclasses import dataclass
from pathlib import Path


@dataclass(frozen=True)
class Name:
    """One name. module: without the leading `petastorm.`; "" for the package itself. kind: "function", "class",
    "method", "property", "constant" or "import". parameters: of what can be called, `self` and `cls` left out."""

    module: str
    name: str
    kind: str
    parameters: tuple[str, ...] | None = None

    def __str__(self) -> str:
        return f"{self.module}:{self.name}"


def public_names(package: Path) -> list[Name]:
    """All names without a leading underscore in modules outside `tests`: functions, classes with their own public
    methods and their constructors' parameters, constants, and what a package's `__init__` hands on."""
    found: list[Name] = []
    for path in sorted(package.rglob("*.py")):
        parts = path.relative_to(package).with_suffix("").parts
        if "tests" in parts:
            continue
        module = ".".join(part for part in parts if part != "__init__")
        tree = ast.parse(path.read_text(encoding="utf-8"))
        names = list(_of_module(module, tree, path.name == "__init__.py"))
        # A program, or a module of private things; a folder's mark is neither.
        found += names or ([] if path.name == "__init__.py" else [Name(module, "", "module")])
    return found


def _of_module(module: str, tree: ast.Module, hands_on: bool) -> Iterator[Name]:
    seen: set[str] = set()
    for node in tree.body:
        for name in _of_statement(module, node, hands_on):
            if name.name not in seen:
                seen.add(name.name)
                yield name


def _of_statement(module: str, node: ast.stmt, hands_on: bool) -> Iterator[Name]:
    if isinstance(node, ast.FunctionDef) and not node.name.startswith("_"):
        yield Name(module, node.name, "function", _parameters(node))
    elif isinstance(node, ast.ClassDef) and not node.name.startswith("_"):
        init = next((sub for sub in node.body if isinstance(sub, ast.FunctionDef) and sub.name == "__init__"), None)
        yield Name(module, node.name, "class", _parameters(init)[1:] if init is not None else None)
        for sub in node.body:
            if isinstance(sub, ast.FunctionDef) and not sub.name.startswith("_"):
                decorators = {decorator.id for decorator in sub.decorator_list if isinstance(decorator, ast.Name)}
                kind = "property" if "property" in decorators else "method"
                first = 0 if "staticmethod" in decorators else 1
                yield Name(module, f"{node.name}.{sub.name}", kind, _parameters(sub)[first:])
            elif isinstance(sub, ast.Assign) and isinstance(sub.targets[0], ast.Name):
                yield from _public(Name(module, f"{node.name}.{sub.targets[0].id}", "constant"))
    elif isinstance(node, ast.Assign):
        for target in node.targets:
            if isinstance(target, ast.Name) and not target.id.startswith("_") and target.id not in ("logger", "tf"):
                yield Name(module, target.id, "constant")
    elif isinstance(node, ast.ImportFrom) and hands_on and (node.level or (node.module or "").startswith("petastorm")):
        for alias in node.names:
            yield Name(module, alias.asname or alias.name, "import")
    elif isinstance(node, ast.Try) or (isinstance(node, ast.If) and "__name__" not in ast.unparse(node.test)):
        for sub in node.body:
            if not isinstance(sub, ast.Expr):
                yield from _of_statement(module, sub, hands_on)


def _public(name: Name) -> Iterator[Name]:
    if not name.name.rpartition(".")[2].startswith("_"):
        yield name


def _parameters(function: ast.FunctionDef) -> tuple[str, ...]:
    every = [*function.args.posonlyargs, *function.args.args, *function.args.kwonlyargs]
    return tuple(argument.arg for argument in every)
