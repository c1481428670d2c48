"""The state dict in whatever a file or a mapping holds: names and arrays."""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass, field
from itertools import islice
from pathlib import Path
from typing import Any

import numpy as np

from rnnx._typing import Array
from rnnx.formats import safetensors
from rnnx.formats._limits import Budget, printable, reading
from rnnx.formats.torch import _container
from rnnx.formats.torch._archive import quoted
from rnnx.formats.torch._tensors import Tensors
from rnnx.formats.torch._values import LONGEST_KEY, Instance, Storage, Tensor
from rnnx.saving import FormatError

USUAL_KEYS = ("state_dict", "model_state_dict", "model_state", "model", "net", "network", "weights")
PARAMETER = re.compile(r"(weight|bias)(_[a-z]+)?(_l\d+)?(_reverse)?|running_(mean|var)")
WRAPPERS = ("module.", "_orig_mod.")  # of DataParallel and torch.compile
DEEPEST = 64  # modules inside modules
MOST_TENSORS = 50_000  # 10,000 LSTMs have 40,000
MOST_ENTRIES = 1_000_000  # of tables of modules, wherever they are; a module counts as many as its time takes
MODULE = 20  # entries
SAFETENSORS_TYPES = {
    "F32": "Float", "F64": "Double", "F16": "Half", "BF16": "BFloat16", "I64": "Long", "I32": "Int", "I16": "Short",
    "I8": "Char", "U8": "Byte", "BOOL": "Bool",
}  # fmt: skip


@dataclass
class State:
    """Arrays by their names, and where they came from.

    Attributes
    ----------
    who : str
        The file, for error messages.
    arrays : dict of str to array
        Read-only views of the file.
    kind : str
        Of the file.
    size : int
        Bytes of the file, or of the arrays of a mapping.
    notes : dict
        What the file says about itself.
    warnings : list of str
    modules : dict of str to Instance
        Of a whole module: the objects by their names, ``""`` for the whole.
    uncalled, unread : list of str
        As in `_container.Contents`.
    """

    who: str
    arrays: dict[str, Array] = field(default_factory=dict)
    kind: str = "mapping"
    size: int = 0
    notes: dict[str, Any] = field(default_factory=dict)
    warnings: list[str] = field(default_factory=list)
    modules: dict[str, Instance] = field(default_factory=dict)
    uncalled: list[str] = field(default_factory=list)
    unread: list[str] = field(default_factory=list)


def read_state(source: Any, key: str | None = None) -> State:
    """The state dict of a file or mapping.

    Parameters
    ----------
    source : path or mapping
    key : str, optional
        The entry of a checkpoint that holds it, dots between nested keys and numbers of items of a list.

    Raises
    ------
    FormatError
        If there is none, or several and no ``key``, or a file is beyond the limits.
    OSError
        If the file cannot be read.
    """
    if isinstance(source, Mapping):
        state, tensors = State("the state dict"), _given(source)
        state.arrays = _without_wrappers(_find(state, tensors, key))[0]
        state.size = sum(array.nbytes for array in state.arrays.values())
        return state
    if not isinstance(source, (str, Path)):
        raise TypeError(f"a path or a state dict is needed, got {type(source).__name__}")
    with reading(source, "the file is damaged or too large for the memory"):
        safe = Path(source).suffix.lower() == ".safetensors" or _is_safetensors(source)
        state = _read_safetensors(source) if safe else _read_pickled(source, key)
        state.size = Path(source).stat().st_size
        _check_names(state.who, state.arrays)
        return state


def _is_safetensors(path: Any) -> bool:
    """Whether a file of another suffix begins with the header of safetensors."""
    if not Path(path).is_file():
        return False  # which is refused in words where it is read
    with Path(path).open("rb") as file:
        return file.read(9)[8:] == b"{"


def _read_pickled(path: Any, key: str | None) -> State:
    """The state dict of a file of ``torch.save``."""
    contents = _container.read(path)
    state = State(str(path), kind=contents.kind, notes=contents.notes)
    state.uncalled, state.unread = contents.uncalled, contents.unread
    if state.uncalled:
        state.warnings.append(f"not called, as the pickle asks, and left out: {', '.join(state.uncalled)}")
    found, state.modules = _without_wrappers(_find(state, contents.value, key), state.modules)
    _check_names(state.who, found)
    arrays = {name: contents.tensors.array(name, tensor) for name, tensor in found.items()}
    state.arrays = {name: array for name, array in arrays.items() if array.size}
    return state


def _check_names(who: str, found: Mapping[str, Any]) -> None:
    """Refuse too many tensors, and names that cannot be shown: layers are named after them."""
    if len(found) > MOST_TENSORS:
        raise FormatError(f"{who}: a state dict of {len(found):,} tensors, the most that is read is {MOST_TENSORS:,}")
    for name in found:
        if len(name) > LONGEST_KEY or not name.isprintable():
            raise FormatError(
                f"{who}: tensor {quoted(name)} has a name of {len(name):,} characters, which must be printable and "
                f"at most {LONGEST_KEY:,}"
            )


def _given(source: Mapping[Any, Any]) -> dict[Any, Any]:
    """A mapping of arrays or of tensors of an imported torch, as NumPy arrays."""
    made: dict[Any, Any] = {}
    for name, value in source.items():
        if isinstance(value, Mapping):
            made[name] = _given(value)
        elif hasattr(value, "detach"):
            value = value.detach().cpu()
            made[name] = np.asarray(value.float() if "bfloat16" in str(value.dtype) else value)
        elif isinstance(value, np.ndarray):
            made[name] = value
    return made


def _read_safetensors(path: Any) -> State:
    file, header, start = safetensors._open(path)
    metadata = header.pop("__metadata__", {})
    if isinstance(metadata, dict) and "rnnx" in metadata:
        raise FormatError(f"{path}: a model of rnnx itself; use rnnx.load_model(path)")
    if len(header) > MOST_TENSORS:
        raise FormatError(f"{path}: a file of {len(header)} tensors")
    data = memoryview(file)[start:]
    types = {name: _container.TYPES[kind] for name, kind in SAFETENSORS_TYPES.items()}
    places = safetensors.places(path, header, len(data), types)
    tensors = Tensors(str(path), lambda storage: (data[slice(*places[storage.key][2:])], "<"), len(file))
    state = State(str(path), kind="safetensors", notes=metadata if isinstance(metadata, dict) else {})
    found: dict[str, Tensor] = {}
    for name, (kind, shape, _, _) in places.items():
        strides, count = [], 1
        for n in reversed(shape):
            strides.append(count)
            count *= n
        if count:
            storage = Storage(SAFETENSORS_TYPES[kind], name, count)
            found[name] = Tensor(storage, 0, shape, tuple(reversed(strides)))
    state.arrays = {name: tensors.array(name, tensor) for name, tensor in found.items()}
    state.arrays, _ = _without_wrappers(state.arrays)
    return state


# ---- Where in a checkpoint it is ------------------------------------------------------------------------------------


def _entries(value: Any) -> dict[Any, Any]:
    """The entries of a table, or of a list by their numbers."""
    if isinstance(value, list):
        return {str(place): part for place, part in enumerate(value)}
    return value if isinstance(value, dict) else {}


def _is_tensor(value: Any) -> bool:
    return isinstance(value, (Tensor, np.ndarray))


def _own_tensors(value: Any) -> dict[str, Any]:
    """The tensors that a table holds by texts."""
    if not isinstance(value, dict):
        return {}
    return {name: tensor for name, tensor in value.items() if isinstance(name, str) and _is_tensor(tensor)}


class _Search:
    """Looks for state dicts; what is looked at is counted, since modules that share parts unfold without end."""

    def __init__(self, who: str):
        self.budget = Budget(who, MOST_ENTRIES, "entries of tables and modules")
        self.seen: dict[int, dict[str, Any]] = {}
        self.modules: dict[int, dict[str, Instance]] = {}  # those inside of whole modules, likewise

    def candidate(self, value: Any) -> dict[str, Any]:
        """The tensors of a table or of a whole module; made once, however often it is there."""
        if id(value) not in self.seen:
            made: dict[str, Any] = {}
            self.seen[id(value)] = made
            if isinstance(value, Instance):
                self._of_module(value, "", made, self.modules.setdefault(id(value), {}), 0)
            elif isinstance(value, dict):
                self.budget.spend(len(value))
                made.update(_own_tensors(value))
        return self.seen[id(value)]

    def _of_module(
        self, module: Instance, prefix: str, made: dict[str, Any], modules: dict[str, Instance], depth: int
    ) -> None:
        """Parameters and buffers of a whole module, as its state dict would name them."""
        who = self.budget.who
        if depth > DEEPEST:
            raise FormatError(f"{who}: modules more than {DEEPEST} deep in each other, or a module in itself")
        if len(prefix) > LONGEST_KEY:
            raise FormatError(f"{who}: a module whose parts have names of more than {LONGEST_KEY:,} characters")
        modules[prefix.removesuffix(".")] = module
        state = module.state if isinstance(module.state, dict) else {}
        inner = state["_modules"] if isinstance(state.get("_modules"), dict) else state
        tables = [state.get("_parameters"), state.get("_buffers")] if "_parameters" in state else [state]
        hidden = state.get("_non_persistent_buffers_set")
        hidden = hidden if isinstance(hidden, list) else []
        parts = [part for part in (inner, hidden, *tables) if isinstance(part, (dict, list))]
        self.budget.spend(MODULE + sum(map(len, parts)))
        left_out = {name for name in hidden if isinstance(name, str) and len(name) <= LONGEST_KEY}
        for table in tables:
            for name, tensor in _own_tensors(table).items():
                if name not in left_out:
                    made[prefix + name] = tensor
                if len(made) > MOST_TENSORS:
                    raise FormatError(f"{who}: a module of more than {MOST_TENSORS:,} tensors, the most that is read")
        for name, part in inner.items():
            if isinstance(name, str) and isinstance(part, Instance):
                self._of_module(part, f"{prefix}{name}.", made, modules, depth + 1)


def _find(state: State, value: Any, key: str | None) -> dict[str, Any]:
    """The state dict in a checkpoint."""
    search = _Search(state.who)
    if key is not None:
        for part in key.split("."):
            table = _entries(value)
            if part not in table:
                raise FormatError(f"{state.who}: there is no entry {key!r}; there are {_names(table)}")
            value = table[part]
    own = search.candidate(value)
    if isinstance(value, Instance) and own:
        state.modules = search.modules[id(value)]
        state.warnings.append("a whole module; its tensors and arguments were read and its code was not")
        return own
    inside = _inside(search, value)
    if own and _has_parameters(own) and (not inside or (key is None and not inside.keys() & set(USUAL_KEYS))):
        return own
    told = _told(inside)
    if not any(told.values()):
        parts = {id(part): (name, part) for name, part in _entries(value).items() if isinstance(part, (dict, list))}
        deeper = {f"{name}.{last}": one for name, part in parts.values() for last, one in _inside(search, part).items()}
        if any(_told(deeper).values()) or not (inside or own):
            inside, told = deeper, _told(deeper)
    if own and not inside:
        return own
    if not inside:
        raise _nothing(state, value)
    chosen = next((name for key in USUAL_KEYS for name in inside if name.rpartition(".")[2] == key), None)
    if chosen is None:
        some = any(told.values())
        names = [name for name, (_, tensors) in inside.items() if told[id(tensors)] or not some]
        if len(names) > 1:
            raise FormatError(
                f"{state.who}: several state dicts; say which by key=, one of {_names(dict.fromkeys(names))}"
            )
        (chosen,) = names
    state.warnings.append(f"a checkpoint; taken from its entry {quoted(chosen)} of {_names(value)}")
    part, tensors = inside[chosen]
    state.modules = search.modules.get(id(part), {})
    return tensors


def _inside(search: _Search, value: Any) -> dict[str, tuple[Any, dict[str, Any]]]:
    """The entries of a table or list that hold tensors by names, each with these."""
    entries = _entries(value)
    search.budget.spend(len(entries))
    found = {name: (part, search.candidate(part)) for name, part in entries.items() if isinstance(name, str)}
    return {name: pair for name, pair in found.items() if pair[1]}


def _told(inside: Mapping[str, tuple[Any, dict[str, Any]]]) -> dict[int, bool]:
    """Which tables of tensors hold parameters, by id: one table may be there many times."""
    tables = {id(tensors): tensors for _, tensors in inside.values()}
    return {place: _has_parameters(tensors) for place, tensors in tables.items()}


def _has_parameters(tensors: Mapping[str, Any]) -> bool:
    """Whether names are those of parameters of modules, not of figures that somebody wanted to keep."""
    return any("." in name or PARAMETER.fullmatch(name) for name in tensors)


def _nothing(state: State, value: Any) -> FormatError:
    """That there is no state dict, and what there is."""
    if state.uncalled:
        return FormatError(
            f"{state.who}: holds no state dict; refused to call {', '.join(state.uncalled)}, as the pickle asks; save "
            "model.state_dict() with torch.save, which needs no such call"
        )
    named = f" and names {', '.join(state.unread)}" if state.unread else ""
    entries = f" (its entries: {_names(value)})" if isinstance(value, dict) else ""
    return FormatError(
        f"{state.who}: holds no state dict{entries}{named}; write one with torch.save(model.state_dict(), path)"
    )


def _names(value: Any) -> str:
    names = list(islice(value, 13)) if isinstance(value, dict) else []
    shown = [printable(repr(name[:200] if isinstance(name, str) else name), 60) for name in names[:12]]
    return (", ".join(shown) + (", ..." if len(names) > 12 else "")) or "none"


def _without_wrappers(
    found: dict[str, Any], modules: dict[str, Instance] | None = None
) -> tuple[dict[str, Any], dict[str, Instance]]:
    """Names without what DataParallel and torch.compile put before all of them, those of modules too."""
    modules = modules or {}
    for wrapper in WRAPPERS:
        if found and all(name.startswith(wrapper) for name in found):
            found = {name.removeprefix(wrapper): value for name, value in found.items()}
            modules = {
                f"{name}.".removeprefix(wrapper).removesuffix("."): module
                for name, module in modules.items()
                if f"{name}.".startswith(wrapper)
            }
    return found, modules
