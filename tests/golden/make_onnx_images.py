"""Make ``onnx_images.npz``: Resize, Upsample, GridSample and QLinearConv by ONNX Runtime, with random options.

In an environment with onnx and ``onnxruntime==1.32.0``, from the root of the repository:
``python -m tests.golden.make_onnx_images``.
"""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

import numpy as np
import onnxruntime
from onnx import helper

from .store import Case, save

Found = tuple[str, int, dict[str, Any], dict[str, Any], list[str]]  # operator, opset, attributes, inputs, their names
RATES = [0.3, 0.5, 0.6, 1, 1.5, 2, 2.7]


def resized(random: np.random.Generator) -> Iterator[Found]:
    modes = [
        "half_pixel",
        "pytorch_half_pixel",
        "align_corners",
        "asymmetric",
        "tf_crop_and_resize",
        "half_pixel_symmetric",
    ]
    for k in range(72):
        lead = 2 * (k % 2)
        axes = [int(n) for n in random.integers(1, 8, 2)]
        shape = [*[1, 2][:lead], *axes]
        mode, how = ["nearest", "linear", "cubic"][k % 3], modes[k // 3 % 6]
        options: dict[str, Any] = {"mode": mode, "coordinate_transformation_mode": how}
        if mode == "nearest":
            options["nearest_mode"] = ["round_prefer_floor", "round_prefer_ceil", "floor", "ceil"][k // 3 % 4]
        else:
            options["antialias"] = int(random.integers(2))
        if mode == "cubic":
            options["cubic_coeff_a"] = float(random.choice([-0.75, -0.5]))
            options["exclude_outside"] = int(random.integers(2))
        given = {"x": random.normal(size=shape).astype(np.float32)}
        names = ["x", "", "", ""]
        if how == "tf_crop_and_resize":
            options["extrapolation_value"] = -3.0
            parts = np.zeros(lead), random.uniform(-0.3, 0.5, 2), np.ones(lead), random.uniform(0.5, 1.3, 2)
            given["roi"], names[1] = np.concatenate(parts).astype(np.float32), "roi"
        if random.random() < 0.5:
            given["scales"], names[2] = np.array([1] * lead + list(random.choice(RATES, 2)), np.float32), "scales"
        else:
            given["sizes"], names[3] = np.array([*shape[:lead], *random.integers(1, 11, 2)]), "sizes"
            if k % 4 == 0:
                options["keep_aspect_ratio_policy"] = ["not_larger", "not_smaller"][k // 4 % 2]
            if lead and how != "tf_crop_and_resize" and k % 5 == 0:
                options["axes"], given["sizes"] = [2, 3], given["sizes"][2:]
        yield "Resize", 19, options, given, names
    for k in range(6):
        given = {"x": random.normal(size=(1, 2, 3, 4)).astype(np.float32)}
        given["scales"] = np.array([1, 1, *random.choice([1, 1.5, 2, 2.4], 2)], np.float32)
        mode = ["nearest", "linear"][k % 2]
        yield ("Upsample", 9, {"mode": mode}, given, ["x", "scales"]) if k < 3 else (
            "Resize", 10, {"mode": mode}, given, ["x", "scales"]
        )  # fmt: skip


def sampled(random: np.random.Generator) -> Iterator[Found]:
    for k in range(36):
        opset, axes = ([16, 20][k % 2], 2) if k < 24 else (20, 3)
        x = random.normal(size=(2, 2, *random.integers(1, 5, axes))).astype(np.float32)
        grid = random.uniform(-2.5, 2.5, size=(2, *random.integers(1, 4, axes), axes)).astype(np.float32)
        modes = ["bilinear", "nearest", "bicubic"] if opset == 16 else ["linear", "nearest", "cubic"]
        options = {"mode": modes[k // 2 % (3 if axes == 2 else 2)], "align_corners": k // 3 % 2,
                   "padding_mode": ["zeros", "border", "reflection"][k // 6 % 3]}  # fmt: skip
        yield (
            "GridSample",
            opset,
            options,
            {"x": x, "grid": np.round(grid * 2) / 2 if k % 5 == 0 else grid},
            ["x", "grid"],
        )


def quantized(random: np.random.Generator) -> Iterator[Found]:
    for k in range(16):
        axes, groups = k % 2 + 1, 1 + k // 2 % 2
        inner, filters = 2 * groups, 3 * groups
        of_x, of_w = (np.dtype(np.uint8), np.dtype([np.uint8, np.int8][k // 4 % 2].__name__))

        def whole(kind: Any, shape: Any = ()) -> Any:
            return random.integers(np.iinfo(kind).min, np.iinfo(kind).max + 1, shape).astype(kind)

        shape = filters if k % 3 else ()
        given = {
            "x": whole(of_x, (2, inner, *random.integers(4, 7, axes))), "xs": np.float32(random.uniform(0.01, 0.1)),
            "xz": whole(of_x), "w": whole(of_w, (filters, 2, *random.integers(1, 4, axes))),
            "ws": random.uniform(0.001, 0.01, shape).astype(np.float32), "wz": np.zeros(shape, of_w),
            "ys": np.float32(random.uniform(0.1, 0.5)), "yz": whole(of_x),
        }  # fmt: skip
        if k % 2:
            given["b"] = random.integers(-3000, 3000, filters).astype(np.int32)
        options = {"group": groups, "pads": [int(n) for n in random.integers(0, 2, 2 * axes)],
                   "strides": [int(n) for n in random.integers(1, 3, axes)]}  # fmt: skip
        yield "QLinearConv", 13, options, given, list(given)


def graph_of(operator: str, opset: int, options: dict[str, Any], given: dict[str, Any], names: list[str]) -> Any:
    """A model of one node, whose inputs are all given."""
    ports = [
        helper.make_tensor_value_info(name, helper.np_dtype_to_tensor_dtype(array.dtype), array.shape)
        for name, array in given.items()
    ]
    node = helper.make_node(operator, names, ["y"], **options)
    graph = helper.make_graph([node], "g", ports, [helper.make_empty_tensor_value_info("y")])
    return helper.make_model(graph, opset_imports=[helper.make_opsetid("", opset)], ir_version=8)


def main() -> None:
    random, cases = np.random.default_rng(0), {}
    session = onnxruntime.SessionOptions()
    session.log_severity_level = 4
    for make in (resized, sampled, quantized):
        for number, (operator, opset, options, given, names) in enumerate(make(random)):
            given = {name: np.asarray(value) for name, value in given.items()}
            proto = graph_of(operator, opset, options, given, names)
            try:
                run = onnxruntime.InferenceSession(proto.SerializeToString(), session)
                (y,) = run.run(None, given)
            except Exception as error:  # cubic ones along outer axes, among others
                print(f"{operator} {options}: {str(error)[:100]}")
                continue
            case = Case({"operator": operator, "opset": opset, "options": options, "names": names})
            for name, array in given.items():
                case.put(name, array)
            case.put("y", y)
            cases[f"{operator} {opset} {number}"] = case
    save("onnx_images", cases)


if __name__ == "__main__":
    main()
