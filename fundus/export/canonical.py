"""An ONNX graph whose names and order depend on what it computes alone, not on how it was made."""

from __future__ import annotations

from typing import Any

from fundus.exceptions import ExportError

#: Name of the axis of the pictures.
BATCH = "batch"


def canonical(model: Any, outputs: list[str]) -> Any:
    """Number the tensors of an ONNX model in the order in which its outputs need them.

    Parameters
    ----------
    model : onnx.ModelProto
        Its inputs and outputs keep their names.
    outputs : list of str
        Names of the outputs, in the order that is wanted.

    Returns
    -------
    onnx.ModelProto
        Another one, that computes the same. What no output needs is left out.
    """
    from onnx import ModelProto

    graph = model.graph
    maker = {name: node for node in graph.node for name in node.output if name}
    known = {tensor.name: tensor for tensor in graph.initializer}
    kept = {given.name for given in graph.input} | set(outputs)
    ordered, constants = _in_order(outputs, maker, known)
    _refuse_subgraphs(ordered)
    renamed: dict[str, str] = {}

    def name_of(name: str) -> str:
        if not name or name in kept:
            return name
        return renamed.setdefault(name, f"t{len(renamed)}")

    made = ModelProto()
    made.CopyFrom(model)
    made.ClearField("metadata_props")
    made.ClearField("doc_string")
    body = made.graph
    for field in ("node", "initializer", "value_info", "output", "doc_string"):
        body.ClearField(field)
    body.name = "grader"
    for k, node in enumerate(ordered):
        copy = body.node.add()
        copy.CopyFrom(node)
        copy.name = f"n{k}"
        copy.ClearField("doc_string")
        copy.input[:] = [name_of(name) for name in node.input]
        copy.output[:] = [name_of(name) for name in node.output]
        copy.ClearField("attribute")
        copy.attribute.extend(sorted(node.attribute, key=lambda attribute: attribute.name))
    for name in constants:
        tensor = body.initializer.add()
        tensor.CopyFrom(known[name])
        tensor.name = name_of(name)
        tensor.ClearField("doc_string")
    by_name = {told.name: told for told in graph.output}
    for name in outputs:
        body.output.add().CopyFrom(by_name[name])
    for told in [*body.input, *body.output]:
        axis = told.type.tensor_type.shape.dim[0]
        axis.dim_param = BATCH
    opsets = sorted(made.opset_import, key=lambda opset: opset.domain)
    versions = [(opset.domain, opset.version) for opset in opsets]
    made.ClearField("opset_import")
    for domain, version in versions:
        made.opset_import.add(domain=domain, version=version)
    return made


def _refuse_subgraphs(nodes: list[Any]) -> None:
    """Refuse loops and branches: what is inside them needs tensors by their first names."""
    kinds = {
        node.op_type
        for node in nodes
        if any(part.HasField("g") or part.graphs for part in node.attribute)
    }
    if kinds:
        raise ExportError(
            "The model cannot be exported to 'onnx': it has operations with graphs inside "
            f"({', '.join(sorted(kinds))}). Export it to 'keras', or use another backbone or head."
        )


def _in_order(
    outputs: list[str], maker: dict[str, Any], known: dict[str, Any]
) -> tuple[list[Any], list[str]]:
    """The nodes that outputs need, each after those it needs, and the constants, in that order."""
    nodes: list[Any] = []
    constants: list[str] = []
    done: set[int] = set()
    seen: set[str] = set()
    stack = [(name, False) for name in reversed(outputs)]
    while stack:
        name, ready = stack.pop()
        if name in known and name not in seen:
            seen.add(name)
            constants.append(name)
        node = maker.get(name)
        if node is None or id(node) in done:
            continue
        if ready:
            done.add(id(node))
            nodes.append(node)
            continue
        stack.append((name, True))
        stack.extend((needed, False) for needed in reversed(node.input))
    return nodes, constants
