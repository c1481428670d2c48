"""ONNX: running models of others, reading them as rnnx models, and writing rnnx models.

`Session` runs any graph with recurrent operators; `load_model` makes a rnnx model of one whose nodes are layers;
`save_model`, or ``model.save("x.onnx")``, writes one at opset 22. Needs ``pip install 'rnnx[onnx]'``.
"""

from rnnx.formats.onnx._describe import describe
from rnnx.formats.onnx._read import load_model, load_weights
from rnnx.formats.onnx._write import check, save_model, save_weights
from rnnx.formats.onnx.session import Port, Session

__all__ = ["Port", "Session", "check", "describe", "load_model", "load_weights", "save_model", "save_weights"]
