"""Hostile files of PyTorch: pickles, zip archives and state dicts that ask for more than their bytes are worth."""

from __future__ import annotations

import struct
import zipfile
import zlib
from collections.abc import Callable, Iterable
from pathlib import Path

from rnnx.formats.torch._write import _integer as integer
from rnnx.formats.torch._write import _name as name
from rnnx.formats.torch._write import _numbers as numbers
from rnnx.formats.torch._write import _text as text

from .kinds import Kind

PRIME = (1 << 61) - 1  # the hash of an integer is its remainder by it
MODULE = name("__torch__", "Module")
Maker = Callable[[Path, int], None]


# ---- Parts of files -------------------------------------------------------------------------------------------------


def archive(path: Path, pickled: bytes, storages: dict[str, bytes] | None = None) -> None:
    """A file as torch.save lays it out, of any pickle."""
    with zipfile.ZipFile(path, "w") as target:
        target.writestr("m/data.pkl", pickled)
        for key, content in (storages if storages is not None else {"0": bytes(64)}).items():
            target.writestr(f"m/data/{key}", content)


def storage(key: str = "0", numel: int = 16, kind: str = "FloatStorage") -> bytes:
    """The opcodes of a storage."""
    return b"(" + text("storage") + name("torch", kind) + text(key) + text("cpu") + integer(numel) + b"tQ"


def tensor(shape: Iterable[int], strides: Iterable[int] | None = None, of: bytes = storage()) -> bytes:
    """The opcodes of a tensor, that of a matrix row by row if no strides are given."""
    sizes = list(shape)
    steps = [sizes[-1], 1][-len(sizes) :] if strides is None else strides
    head = name("torch._utils", "_rebuild_tensor_v2") + b"("
    return head + of + integer(0) + numbers(sizes) + numbers(steps) + b"\x89}tR"


def keep(number: int) -> bytes:
    return b"r" + struct.pack("<I", number)


def recall(number: int) -> bytes:
    return b"j" + struct.pack("<I", number)


def pickle(*parts: bytes) -> bytes:
    return b"\x80\x02" + b"".join(parts) + b"."


def table(items: Iterable[tuple[str, bytes]]) -> bytes:
    return b"}(" + b"".join(text(key) + value for key, value in items) + b"u"


GOOD = [("layer.weight", tensor((4, 4)))]


# ---- Modules that share parts, and many of them ---------------------------------------------------------------------


def shared_modules(leaf: bytes) -> Maker:
    """Modules that each have the next one twice, so deep; the last one has some entry."""

    def make(path: Path, depth: int) -> None:
        body = MODULE + b")\x81" + leaf + b"b" + keep(0)
        for number in range(1, depth + 1):
            below = recall(number - 1)
            body += MODULE + b")\x81" + table([("a", below), ("b", below)]) + b"b" + keep(number)
        archive(path, pickle(body))

    return make


def one_table_many_times(path: Path, count: int) -> None:
    """A checkpoint with so many entries that are one table with as many tensors."""
    inner = table((f"{k:x}", recall(0)) for k in range(count))
    entries = (text(f"{k:x}") + recall(1) for k in range(count))
    archive(path, pickle(tensor((4, 4)), keep(0), inner, keep(1), b"}(", *entries, b"u"))


def one_list_many_times(path: Path, count: int) -> None:
    """A checkpoint with so many entries that are one list with as many tables."""
    inner = b"](" + recall(0) * count + b"e"
    entries = (text(f"{k:x}") + recall(1) for k in range(count))
    archive(path, pickle(table(GOOD), keep(0), inner, keep(1), b"}(", *entries, b"u"))


def one_hidden_set_many_times(path: Path, count: int) -> None:
    """So many modules that have one list, as long, of buffers that are not saved."""
    names = b"](" + b"".join(text(f"{k:x}") for k in range(count)) + b"e"
    state = table([("_parameters", b"}"), ("_non_persistent_buffers_set", names)])
    parts = ((f"{k:x}", MODULE + b")\x81" + recall(0) + b"b") for k in range(count))
    archive(path, pickle(state, keep(0), MODULE, b")\x81", table(parts), b"b"))


def long_prefixes(path: Path, count: int) -> None:
    """So many tensors below 60 modules whose name is one text of a million characters."""
    body = text("x" * 1_000_000) + keep(0) + tensor((4, 4)) + keep(1)
    body += MODULE + b")\x81" + table((f"{k:x}", recall(1)) for k in range(count)) + b"b"
    for _ in range(60):
        body += keep(2) + MODULE + b")\x81}" + recall(0) + recall(2) + b"sb"
    archive(path, pickle(body))


def small_modules(leaves: dict[str, bytes]) -> Maker:
    """So many modules with these parameters, which are the same arrays in each."""

    def make(path: Path, count: int) -> None:
        values = b"".join(value + keep(number) + b"0" for number, value in enumerate(leaves.values()))
        items = ((f"m{k}.{leaf}", recall(number)) for k in range(count) for number, leaf in enumerate(leaves))
        archive(path, pickle(values, table(items)), {"0": bytes(64 * 16 * count)})

    return make


def stacked(path: Path, depth: int) -> None:
    """One LSTM of so many layers."""
    items = [(f"weight_{side}_l{k}", recall(0)) for k in range(depth) for side in ("ih", "hh")]
    archive(path, pickle(tensor((4, 1)), keep(0), b"0", table(items)), {"0": bytes(64 * depth)})


LSTM = {f"weight_{side}_l0": tensor((4, 1)) for side in ("ih", "hh")}
BOTH = {**LSTM, **{f"{leaf}_reverse": value for leaf, value in LSTM.items()}}


# ---- Tensors that share bytes, or are larger than the file ----------------------------------------------------------


def shared_storage(kind: str, width: int) -> Maker:
    """So many matrices that are views of one storage of 4 million numbers."""

    def make(path: Path, count: int) -> None:
        of = storage("0", 1 << 22, kind)
        views = ((f"m{k}.weight", tensor((2048, 2048 - k), (2048, 1), of)) for k in range(count))
        archive(path, pickle(table(views)), {"0": bytes(width << 22)})

    return make


def expanded(path: Path, count: int) -> None:
    """So many matrices of a million numbers that are one row each."""
    of = storage("0", 1 << 20)
    views = ((f"m{k}.weight", tensor((1024, 1024), (0, 1), of)) for k in range(count))
    archive(path, pickle(table(views)), {"0": bytes(4 << 20)})


def sizes_that_do_not_meet(path: Path, width: int) -> None:
    """An LSTM of 100 units whose first array has one row, so wide: its kernel would have 400."""
    items = [("weight_ih_l0", tensor((1, width), of=storage("0", width)))]
    items.append(("weight_hh_l0", tensor((400, 100), of=storage("1", 40_000))))
    archive(path, pickle(table(items)), {"0": bytes(4 * width), "1": bytes(160_000)})


def claimed_sizes(path: Path, width: int) -> None:
    """An LSTM of so many units, described by a file that has no such bytes."""
    items = [(f"weight_{side}_l0", tensor((4 * width, width), of=storage("0", 4 * width**2))) for side in ("ih", "hh")]
    archive(path, pickle(table(items)))


def projections(path: Path, count: int) -> None:
    """So many LSTMs of 1024 units with outputs of one number: each has a product of 16 MB in 40 kB."""
    units = 1024
    shapes = {"weight_ih_l0": (4 * units, 1), "weight_hh_l0": (4 * units, 1), "weight_hr_l0": (1, units)}
    items = [
        (f"m{k}.{leaf}", tensor(shape, of=storage("0", 4 * units)))
        for k in range(count)
        for leaf, shape in shapes.items()
    ]
    archive(path, pickle(table(items)), {"0": bytes(40_000 * count)})


# ---- Pickles that take long or grow ---------------------------------------------------------------------------------


def colliding_integers(path: Path, count: int) -> None:
    """A table with so many integers whose hash is 0."""
    keys = ((k * PRIME).to_bytes(12, "little") for k in range(1, count + 1))
    archive(path, pickle(table(GOOD), b"(", *(b"\x8a\x0c" + key + b"N" for key in keys), b"u"))


def colliding_memo(path: Path, count: int) -> None:
    """A memo whose numbers are so many multiples of a large power of two."""
    step = (1 << 32) // count
    archive(path, pickle(*(b"N" + keep(k * step) + b"0" for k in range(count)), table(GOOD)))


def pairs_of_one_list(path: Path, count: int) -> None:
    """So many calls of OrderedDict with one list of as many pairs."""
    pairs = b"](" + b"".join(text(f"{k:x}") + b"N\x86" for k in range(count)) + b"e"
    call = name("collections", "OrderedDict") + keep(1) + recall(0) + b"\x85R"
    again = recall(1) + recall(0) + b"\x85R"
    archive(path, pickle(pairs, keep(0), b"0](", call, again * count, b"e"))


def arguments_of_one_tuple(path: Path, count: int) -> None:
    """So many calls of a function with one tuple of as many arguments."""
    arguments = b"(" + b"N" * count + b"t"
    call = name("torch", "device") + keep(1) + b"0" + (recall(1) + recall(0) + b"R0") * count
    archive(path, pickle(arguments, keep(0), b"0", call, table(GOOD)))


def long_equal_keys(path: Path, count: int) -> None:
    """So many tables that get two equal texts of ten million characters as keys."""
    long = text("x" * 10_000_000)
    both = b"}" + recall(0) + b"Ns" + recall(1) + b"Ns0"
    archive(path, pickle(long, keep(0), long, keep(1), both * count, table(GOOD)))


def long_names(path: Path, count: int) -> None:
    """The names of so many functions in a package whose name has ten million characters."""
    names = (recall(0) + text(f"f{k}") + b"\x930" for k in range(count))
    archive(path, b"\x80\x04" + text("torch." + "x" * 10_000_000) + keep(0) + b"".join(names) + table(GOOD) + b".")


def long_storage_keys(path: Path, count: int) -> None:
    """So many storages whose keys are one text of ten million characters."""
    head = text("storage") + name("torch", "FloatStorage")
    given = b"(" + head + text("x" * 10_000_000) + text("cpu") + integer(4) + b"t"
    items = ((f"m{k}.weight", tensor((2, 2), of=recall(0) + b"Q")) for k in range(count))
    archive(path, pickle(given, keep(0), b"0", table(items)))


def steps(body: bytes, head: bytes = b"") -> Maker:
    """So many times these opcodes."""
    return lambda path, count: archive(path, pickle(head, body * count, table(GOOD)))


def nested(path: Path, depth: int) -> None:
    """Objects inside each other, so deep."""
    below = MODULE + keep(0) + b")\x81" + keep(1)
    again = recall(0) + b")\x81" + recall(1) + b"b" + keep(1)
    archive(path, pickle(below, again * depth))


def doubled(path: Path, depth: int) -> None:
    """A pair of a pair of a pair ..., each of the same two, as the state of a module and as a storage."""
    body = b")" + keep(0) + (recall(0) + recall(0) + b"\x86" + keep(0)) * depth
    archive(path, pickle(body, MODULE, b")\x81", table([("w", recall(0)), *GOOD]), b"b", recall(0), b"Q"))


def wide_text(path: Path, count: int) -> None:
    """A text of so many characters of one byte and one that makes all of them take four."""
    archive(path, pickle(text("x" * count + "\U0001f600"), keep(0), table(GOOD)))


# ---- Archives -------------------------------------------------------------------------------------------------------


def directory(path: Path, body: bytes, entries: Iterable[tuple[bytes, int, int, int, bytes]]) -> None:
    """An archive with a directory of one's own: name, offset, size, checksum and extra field of each member."""
    listed = b"".join(
        struct.pack("<4s6H3L5H2L", b"PK\1\2", 20, 20, 0, 0, 0, 33, crc, size, size, len(own), len(extra), *(0,) * 4, at)
        + own
        + extra
        for own, at, size, crc, extra in entries
    )
    path.write_bytes(body + listed + struct.pack("<4s4H2LH", b"PK\5\6", 0, 0, 0, 0, len(listed), len(body), 0))


def member(own: bytes, content: bytes) -> bytes:
    head = struct.pack("<4s5H3L2H", b"PK\3\4", 20, 0, 0, 0, 33, zlib.crc32(content), *(len(content),) * 2, len(own), 0)
    return head + own + content


def overlapping(path: Path, count: int) -> None:
    """So many storages that are the same 10 MB of the file, each with a tensor."""
    content = bytes(10_000_000)
    body = member(b"m/data/0", content)
    start, crc = len(body), zlib.crc32(content)
    made = pickle(table((f"m{k}.weight", tensor((4, 4), of=storage(str(k)))) for k in range(count)))
    entries = [(b"m/data/%d" % k, 0, len(content), crc, b"") for k in range(count)]
    body += member(b"m/data.pkl", made)
    directory(path, body, [*entries, (b"m/data.pkl", start, len(made), zlib.crc32(made), b"")])


def quoted(path: Path, count: int) -> None:
    """So many members each of which contains the header of the next and all that follows."""
    heads = [member(b"m/data/%d" % k, b"") for k in range(count)]
    content, offsets, at = bytes(10_000_000), [], 0
    for head in heads:
        offsets.append(at)
        at += len(head)
    made = pickle(table((f"m{k}.weight", tensor((4, 4), of=storage(str(k)))) for k in range(count)))
    body, end = b"".join(heads) + content, at + len(content)
    entries = [(b"m/data/%d" % k, offset, end - offset - len(heads[k]), 0, b"") for k, offset in enumerate(offsets)]
    entries.append((b"m/data.pkl", end, len(made), zlib.crc32(made), b""))
    directory(path, body + member(b"m/data.pkl", made), entries)


def long_extra_fields(path: Path, count: int) -> None:
    """So many members with extra fields of 64 kB that are cut in pieces of 4 bytes."""
    made = pickle(table(GOOD))
    extra = b"\xfe\xca\0\0" * 16_383
    entries = [(b"m/%d" % k, 0, 0, 0, extra) for k in range(count)]
    directory(path, member(b"m/data.pkl", made), [*entries, (b"m/data.pkl", 0, len(made), zlib.crc32(made), b"")])


def many_members(path: Path, count: int) -> None:
    """So many members without a byte."""
    body = member(b"m/data.pkl", pickle(table(GOOD)))
    directory(path, body, ((b"%x" % k, 0, 0, 0, b"") for k in range(count)))


def compressed(path: Path, count: int) -> None:
    """A pickle of so many bytes that are deflated to a thousandth."""
    with zipfile.ZipFile(path, "w", zipfile.ZIP_DEFLATED) as target:
        target.writestr("m/data.pkl", pickle(b"N0" * (count // 2), table(GOOD)))


# ---- The legacy form ------------------------------------------------------------------------------------------------


def legacy(value: bytes, keys: bytes) -> bytes:
    """Magic number, protocol, machine, the value and the keys of the storages."""
    magic = b"\x8a\x0a" + (0x1950A86A20F9469CFC6C).to_bytes(10, "little")
    return b"".join(pickle(part) for part in (magic, b"M\xe9\x03", b"}", value, keys))


def long_equal_legacy_keys(path: Path, count: int) -> None:
    """A list of storages that has two equal texts of ten million characters, so many times each."""
    long = text("x" * 10_000_000)
    keys = long + keep(0) + long + keep(1) + b"](" + (recall(0) + recall(1)) * count + b"e"
    path.write_bytes(legacy(table(GOOD), keys) + struct.pack("<q", 16) + bytes(64))


def strange_legacy_type(path: Path, count: int) -> None:
    """A storage of a type whose name no terminal may get."""
    path.write_bytes(legacy(typed(ESCAPE * count), b"](" + text("0") + b"e"))


# ---- Names that are no text -----------------------------------------------------------------------------------------

ESCAPE = "\x1b[2J\x9b\udc9b\n\u202eevil"


def strange(value: Callable[[str], bytes]) -> Maker:
    """A pickle with a name that has so many characters that no terminal may get."""
    return lambda path, count: archive(path, pickle(value(ESCAPE * count)))


def strange_text(characters: str) -> bytes:
    data = characters.encode("utf-8", "surrogatepass")
    return b"X" + struct.pack("<I", len(data)) + data


def strange_line(characters: str) -> bytes:
    return characters.replace("\n", "").encode("utf-8", "ignore")[:900]


def named(characters: str) -> bytes:
    return b"}" + strange_text(characters) + tensor((4, 4)) + b"s"


def named_unknown(characters: str) -> bytes:
    return b"}" + strange_text(f"{characters}.unknown") + tensor((4, 4)) + b"s"


def keyed(characters: str) -> bytes:
    head = b"(" + text("storage") + name("torch", "FloatStorage") + strange_text(characters)
    return table([("weight", tensor((4, 4), of=head + text("cpu") + integer(16) + b"tQ"))])


def typed(characters: str) -> bytes:
    head = b"(" + text("storage") + b"ctorch\n" + strange_line(characters) + b"Storage\n" + text("0") + text("cpu")
    return table([("weight", tensor((4, 4), of=head + integer(16) + b"tQ"))])


def called(characters: str) -> bytes:
    return b"cos\n" + strange_line(characters) + b"\n)R"


def listed(characters: str) -> bytes:
    return b"}" + strange_text(characters) + b"Ns"


def several(characters: str) -> bytes:
    part = table(GOOD)
    return b"}" + strange_text(f"a{characters}") + part + b"s" + strange_text(f"b{characters}") + part + b"s"


STRANGE = {
    "a tensor": (named, "printable"),
    "a module of an unknown kind": (named_unknown, "printable"),
    "a storage": (keyed, ""),
    "a type of storage": (typed, "of type"),
    "a function": (called, "refused to call"),
    "an entry that is no tensor": (listed, "holds no state dict"),
    "one of several state dicts": (several, "several state dicts"),
}

KINDS: list[Kind] = [
    Kind("PyTorch modules that share parts", ".pt", shared_modules(b"}"), 24, 60, "more than"),
    Kind("PyTorch modules that share weights", ".pt", shared_modules(table(GOOD)), 20, 60, "more than"),
    Kind("PyTorch checkpoint of one table many times", ".pt", one_table_many_times, 20_000, 49_000),
    Kind("PyTorch checkpoint of one list many times", ".pt", one_list_many_times, 20_000, 49_000, "several"),
    Kind("many PyTorch Conv3d", ".pt", small_modules({"weight": tensor((1,) * 5, (1,) * 5)}), 12_000, 45_000, "layers"),
    Kind("PyTorch modules with one hidden set", ".pt", one_hidden_set_many_times, 20_000, 90_000, "more than"),
    Kind("PyTorch modules with long names", ".pt", long_prefixes, 2000, 40_000, "holds no|names"),
    Kind("many PyTorch Linear", ".pt", small_modules({"weight": tensor((1, 1))}), 12_000, 45_000, "layers"),
    Kind("many PyTorch LSTM", ".pt", small_modules(LSTM), 12_000, 24_000, "layers"),
    Kind("as many PyTorch LSTM as are read", ".pt", small_modules(LSTM), 100, 10_000),
    Kind("as many PyTorch bidirectional LSTM as are read", ".pt", small_modules(BOTH), 100, 5000),
    Kind("PyTorch LSTM of many layers", ".pt", stacked, 100, 9_999),
    Kind("PyTorch tensors that share a storage", ".pt", shared_storage("FloatStorage", 4), 200, 2000, "share"),
    Kind("PyTorch bfloat16 that shares a storage", ".pt", shared_storage("BFloat16Storage", 2), 200, 2000, "share"),
    Kind("PyTorch tensors expanded by strides of 0", ".pt", expanded, 500, 20_000, "share"),
    Kind("PyTorch LSTM of two small arrays", ".pt", sizes_that_do_not_meet, 1_000_000, 20_000_000, "must have shape"),
    Kind("PyTorch LSTM of 3e8 units", ".pt", claimed_sizes, 300_000_000, 300_000_000, "should hold|reaches"),
    Kind("PyTorch LSTM with products of projections", ".pt", projections, 100, 2000, "proj_size"),
    Kind("PyTorch table of colliding integers", ".pt", colliding_integers, 20_000, 400_000),
    Kind("PyTorch memo with numbers far apart", ".pt", colliding_memo, 20_000, 400_000, "numbers a value"),
    Kind("PyTorch calls with one list", ".pt", pairs_of_one_list, 3000, 150_000, "pairs"),
    Kind("PyTorch calls with one tuple", ".pt", arguments_of_one_tuple, 20_000, 300_000, "arguments"),
    Kind("PyTorch keys that are long and equal", ".pt", long_equal_keys, 5000, 150_000),
    Kind("PyTorch functions with long names", ".pt", long_names, 5000, 200_000, "characters"),
    Kind("PyTorch storages with long keys", ".pt", long_storage_keys, 1000, 30_000, "characters"),
    Kind("PyTorch pickle of many tables", ".pt", steps(b"}"), 1_100_000, 90_000_000, "steps"),
    Kind("PyTorch pickle of as many tables as are read", ".pt", steps(b"}"), 100_000, 990_000),
    Kind(
        "PyTorch pickle of as many names as are read", ".pt", steps(name("torch", "x" * 30)), 100_000, 990_000
    ),
    Kind("PyTorch pickle of as many texts as are read", ".pt", steps(text("\u20ac" * 10)), 100_000, 990_000),
    Kind(
        "PyTorch pickle of as many storages as are read", ".pt",
        steps(recall(0) + b"Q", storage()[:-1] + keep(0)), 100_000, 490_000
    ),
    Kind("PyTorch objects inside each other", ".pt", nested, 50_000, 160_000, "state dict"),
    Kind("PyTorch pairs of pairs", ".pt", doubled, 100, 200_000, "refers"),
    Kind("PyTorch text of wide characters", ".pt", wide_text, 1_000_000, 60_000_000),
    Kind("PyTorch archive that overlaps", ".pt", overlapping, 2000, 20_000, "overlap"),
    Kind("PyTorch archive that quotes its headers", ".pt", quoted, 2000, 20_000, "overlap"),
    Kind("PyTorch archive with long extra fields", ".pt", long_extra_fields, 100, 1500, "overlap|directory"),
    Kind("PyTorch archive of many members", ".pt", many_members, 120_000, 1_500_000, "archive"),
    Kind("PyTorch pickle that is compressed", ".pt", compressed, 2_000_000, 90_000_000, "compressed"),
    Kind("PyTorch legacy storages with long equal keys", ".pt", long_equal_legacy_keys, 3000, 200_000, "damaged"),
    Kind("PyTorch legacy type of a storage that is no text", ".pt", strange_legacy_type, 3, 80, "of type"),
    *(
        Kind(f"PyTorch name of {what} that is no text", ".pt", strange(value), 3, 80, words)
        for what, (value, words) in STRANGE.items()
    ),
]  # fmt: skip
