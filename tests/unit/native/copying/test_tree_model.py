"""The tree against a model that is too simple to be wrong."""

from __future__ import annotations

import io

from hypothesis import given
from hypothesis import strategies as st

from buildpush.backends.native.tree import LayerIndex, Tree, index_layer
from buildpush.oci.tar import END, OPAQUE, WHITEOUT, Entry, pack, padding

NAMES = st.sampled_from(["a", "b", "c"])
PATHS = st.lists(NAMES, min_size=1, max_size=3).map("/".join)
ENTRIES = st.one_of(
    st.tuples(st.just("dir"), PATHS),
    st.tuples(st.just("file"), PATHS),
    st.tuples(st.just("whiteout"), PATHS),
    st.tuples(st.just("opaque"), PATHS),
)
LAYERS = st.lists(st.lists(ENTRIES, max_size=6), max_size=4)


def tar_of(entries: list[tuple[str, str]], number: int) -> bytes:
    out = b""
    for at, (kind, path) in enumerate(entries):
        folder, slash, name = path.rpartition("/")
        body = b""
        match kind:
            case "dir":
                entry = Entry(path, "dir", 0o700)
            case "file":
                body = b"%d.%d" % (number, at)
                entry = Entry(path, "file", size=len(body))
            case "whiteout":
                entry = Entry(f"{folder}{slash}{WHITEOUT}{name}", "file")
            case _:
                entry = Entry(f"{path}/{OPAQUE}", "file")
        out += pack(entry) + body + padding(len(body))
    return out + END


def put(model: dict[str, str], path: str, value: str) -> None:
    """Place a path as unpacking does: parents are made, a file ends what was below it."""
    parts = path.split("/")
    for depth in range(1, len(parts)):
        parent = "/".join(parts[:depth])
        if not model.get(parent, "").startswith("dir"):
            model[parent] = "dir implied"
    if not value.startswith("dir"):
        drop(model, f"{path}/")
    model[path] = value


def drop(model: dict[str, str], prefix: str) -> None:
    for path in [p for p in model if p.startswith(prefix)]:
        del model[path]


def model_of(layers: list[list[tuple[str, str]]]) -> dict[str, str]:
    """Each layer is unpacked into a folder of its own, and these are laid over each other."""
    model: dict[str, str] = {}
    for number, entries in enumerate(layers):
        own: dict[str, str] = {}
        for at, (kind, path) in enumerate(entries):
            if kind == "whiteout":
                model.pop(path, None)
            if kind in ("whiteout", "opaque"):
                drop(model, f"{path}/")
            if kind in ("dir", "file"):
                put(own, path, "dir named" if kind == "dir" else f"{number}.{at}")
        for path, value in own.items():
            if value != "dir implied" or not model.get(path, "").startswith("dir"):
                put(model, path, value)
    return model


def index_of(entries: list[tuple[str, str]], number: int) -> LayerIndex:
    return LayerIndex.load(index_layer(io.BytesIO(tar_of(entries, number))).dump())


def seen(tree: Tree) -> dict[str, str]:
    found: dict[str, str] = {}
    for node in tree.walk():
        if node.kind == "dir":
            found[node.path] = "dir named" if node.mode == 0o700 else "dir implied"
        else:
            found[node.path] = f"{tree.layer_of(node.path)}.{node.inode}"
    del found[""]
    return found


@given(LAYERS)
def test_a_stack_is_its_layers_applied_in_order(layers: list[list[tuple[str, str]]]) -> None:
    """The tree agrees with the model about every path, its kind and where its content is."""
    tree = Tree.of(index_of(entries, number) for number, entries in enumerate(layers))

    assert model_of(layers) == seen(tree)


@given(LAYERS)
def test_growing_a_tree_is_building_it_at_once(layers: list[list[tuple[str, str]]]) -> None:
    """And the trees on the way stay what they were."""
    indexes = [index_of(entries, number) for number, entries in enumerate(layers)]
    tree, steps = Tree(), []
    for index in indexes:
        tree = tree.plus(index)
        steps.append(tree)

    assert [seen(Tree.of(indexes[: at + 1])) for at in range(len(indexes))] == [
        seen(step) for step in steps
    ]


@given(LAYERS)
def test_folders_know_their_children(layers: list[list[tuple[str, str]]]) -> None:
    """Every path is a child of its folder, once, and nobody else is."""
    tree = Tree.of(index_of(entries, number) for number, entries in enumerate(layers))

    listed = [child.path for node in tree.walk() for child in tree.children(node.path)]
    assert sorted(model_of(layers)) == sorted(listed)
