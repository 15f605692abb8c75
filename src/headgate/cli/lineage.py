"""``headgate lineage``: where something came from, back to what came from outside."""

from __future__ import annotations

from typing import TYPE_CHECKING

from headgate.cli.options import AsJson, FileOption, IdArgument, StoreOption, open_store

if TYPE_CHECKING:
    from rich.tree import Tree

    from headgate.ledger import Edge, Store

__all__ = ["lineage"]


def lineage(
    id: IdArgument, file: FileOption = None, store: StoreOption = None, as_json: AsJson = False
) -> None:
    """Show what an artifact or a run was made from."""
    from headgate.cli.output import print_json, stdout
    from headgate.ledger import graph

    with open_store(file, store) as opened:
        edges = graph(opened, id)
        if as_json:
            print_json(edges)
            return
        entry = opened.get(id)
        start = entry.id if entry.kind == "run" else entry.body.get("version", entry.id)
        stdout().print(_tree(opened, str(start), edges))


def _tree(store: Store, start: str, edges: tuple[Edge, ...]) -> Tree:
    from rich.tree import Tree

    from headgate.objects import short

    sources: dict[str, list[Edge]] = {}
    for edge in edges:
        sources.setdefault(edge.product, []).append(edge)
    runs = {run.id: str(run.body["transformation"]) for run in store.entries("run")}
    names = {str(e.body["version"]): str(e.body["id"]) for e in store.entries("artifact")}
    shown: set[str] = set()

    def label(node: str, name: str = "") -> str:
        what = f"run {runs[node]}" if node in runs else names.get(node, name or "not registered")
        return f"{what}  {short(node)}"

    def grow(tree: Tree, node: str) -> None:
        if node in shown and sources.get(node):
            tree.add("… as above")
            return
        shown.add(node)
        found = sources.get(node, [])
        # An artifact's lineage repeats what the run that made it used.
        for edge in [e for e in found if e.relation == "made_by"] or found:
            grow(tree.add(label(edge.source, edge.name)), edge.source)

    root = Tree(label(start), highlight=False)
    grow(root, start)
    return root
