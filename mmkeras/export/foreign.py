"""Operations that a model server lacks: no SavedModel appears that has them."""

from mmkeras.export import checks
from mmkeras.hub import HubLayer


def refuse(folder, model, contracts, functions):
    """Refuses a SavedModel that TensorFlow's core alone cannot run.

    Custom operations of modules in `mmkeras.hub.HubLayer` pass: who chose the module
    knows its server. What calls Python does not, wherever it stands.

    Args:
        folder: the SavedModel's folder.
        model: the model that it holds.
        contracts: dict, modality -> contract.
        functions: dict, endpoint -> concrete function.

    Returns:
        tuple, the custom operations that passed.

    Raises:
        ValueError: an operation is not of the core; the message says where it stands.
    """
    found = checks.custom_ops(folder)
    passed = _of_modules(model) - set(checks.PYTHON_OPS) if found else ()
    refused = [name for name in found if name not in passed]
    if refused:
        places = [f"{x} ({_place(x, contracts, functions)})" for x in refused]
        raise ValueError(
            f"A SavedModel wants operations of TensorFlow's core, which every server "
            f"has. Received: {'; '.join(places)}. Nothing was written. Write the "
            f"contract's `read` or the layer in TensorFlow's own operations: "
            f"`tf.numpy_function` and `tf.py_function` call this Python process, and "
            f"an operation of another package is known where that is imported alone."
        )
    return found


def _of_modules(model):
    """Operations in the functions of the model's hub modules."""
    import tensorflow as tf

    found = set()
    for layer in model._flatten_layers():
        if isinstance(layer, HubLayer):
            for part in tf.train.TrackableView(layer.module).descendants():
                for function in getattr(part, "concrete_functions", ()):
                    found |= checks.operations(function.graph.as_graph_def())
    return found


def _place(operation, contracts, functions):
    """Where an operation stands, in words: a contract's `read`, or endpoints."""
    reading = [
        name
        for name, contract in contracts.items()
        if operation in checks.operations(_reading(contract))
    ]
    if reading:
        return f"where the contract of {', '.join(map(repr, reading))} reads"
    graphs = {name: x.graph.as_graph_def() for name, x in functions.items()}
    scopes = {
        node.name.rpartition("/")[0]
        for graph in graphs.values()
        for node in checks.nodes(graph)
        if node.op == operation
    }
    standing = [
        x for x, graph in graphs.items() if operation in checks.operations(graph)
    ]
    named = sorted(x for x in scopes if x)[:5]
    told = f"in the endpoints {', '.join(standing)}" if standing else "in the model"
    return f"{told}: {', '.join(named)}" if named else told


def _reading(contract):
    """The graph of what an endpoint does with one modality's raw values."""
    import tensorflow as tf

    def read(raw):
        first = contract.refusal(raw[0])
        return contract.read(raw), contract.presence(raw), first

    spec = tf.TensorSpec([None], tf.string)
    return tf.function(read).get_concrete_function(spec).graph.as_graph_def()
