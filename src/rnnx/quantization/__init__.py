"""Kernels in 16 or 8 bits, for inference."""

from rnnx.quantization.apply import quantizable, quantize
from rnnx.quantization.report import QuantizationReport, quantization_report, quantized_copies

__all__ = ["QuantizationReport", "quantizable", "quantization_report", "quantize", "quantized_copies"]
