"""What the code of the instructor's notebook says, without running it: names, and where objects belong."""

from __future__ import annotations

import ast
import re

_MAGIC = re.compile(r"^\s*[%!?].*$", re.MULTILINE)


def parsed(source: str) -> ast.Module:
    """A notebook cell without its magics; empty if it is not Python."""
    if source.lstrip().startswith("%%"):
        return ast.Module([], [])
    try:
        return ast.parse(_MAGIC.sub("", source))
    except SyntaxError:
        return ast.Module([], [])


def is_literal(node: ast.expr) -> bool:
    """Whether an expression is written out: it means the same wherever it is evaluated."""
    try:
        ast.literal_eval(node)
    except (ValueError, TypeError, SyntaxError, MemoryError, RecursionError):
        return False
    return True


class _Bindings(ast.NodeVisitor):
    """The names that a cell binds in the notebook's namespace."""

    def __init__(self) -> None:
        self.names: set[str] = set()

    def visit_FunctionDef(self, node: ast.FunctionDef) -> None:
        self.names.add(node.name)

    def visit_AsyncFunctionDef(self, node: ast.AsyncFunctionDef) -> None:
        self.names.add(node.name)

    def visit_ClassDef(self, node: ast.ClassDef) -> None:
        self.names.add(node.name)

    def visit_Lambda(self, node: ast.Lambda) -> None:
        """Binds nothing outside."""

    def visit_Name(self, node: ast.Name) -> None:
        if isinstance(node.ctx, ast.Store):
            self.names.add(node.id)


def bound(tree: ast.Module) -> set[str]:
    """The names that a cell binds in the notebook's namespace."""
    bindings = _Bindings()
    bindings.visit(tree)
    return bindings.names


def contract(trees: list[ast.Module]) -> set[str]:
    """Where the instructor's notebook has a function or object itself: its functions, classes and their instances."""
    found: set[str] = set()
    statements = [statement for tree in trees for statement in tree.body]
    classes = {each.name: each for each in statements if isinstance(each, ast.ClassDef)}

    def function(path: str, node: ast.stmt) -> None:
        found.add(path)
        yields = any(isinstance(each, ast.Yield | ast.YieldFrom) for each in ast.walk(node))
        if yields or path.endswith((".__iter__", ".__enter__")):
            found.update((f"{path}()", f"{path}().__iter__()"))

    def instance(path: str, name: str, seen: frozenset[str] = frozenset()) -> None:
        found.add(path)
        for each in classes[name].body:
            if isinstance(each, ast.FunctionDef):
                function(f"{path}.{each.name}", each)
        for base in classes[name].bases:
            if isinstance(base, ast.Name) and base.id in classes and base.id not in seen:
                instance(path, base.id, seen | {name})

    for each in statements:
        match each:
            case ast.FunctionDef(name=name) | ast.Assign(targets=[ast.Name(id=name)], value=ast.Lambda()):
                function(name, each)
            case ast.ClassDef(name=name):
                instance(name, name)
                instance(f"{name}()", name)
            case ast.Assign(targets=[ast.Name(id=name)], value=ast.Call(func=ast.Name(id=of))) if of in classes:
                instance(name, of)
    return found
