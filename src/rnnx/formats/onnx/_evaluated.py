"""The operators that run on the reference evaluator of the package `onnx`, and what each costs there.

An operator that is in none of the tables is refused: nobody knows what it would take.
"""

from __future__ import annotations

from rnnx.formats.onnx._node import Operator, Size
from rnnx.formats.onnx._signals import (
    counted_words,
    counted_words_work,
    frames,
    frames_work,
    joined,
    mel_weights,
    mel_work,
    split_up,
    split_up_work,
    texts_split,
    transform,
    with_lists,
    with_lists_work,
)
from rnnx.formats.onnx._sizes import (
    SAME,
    Refused,
    Wide,
    attention,
    attention_work,
    boxes_compared,
    boxes_kept,
    broadcast,
    broadcast_floats,
    by_channel,
    crop,
    each,
    einsum,
    einsum_all,
    einsum_work,
    gather,
    given_shape,
    multinomial,
    non_zero,
    one_hot,
    scaled,
    state_of_attention,
    state_of_attention_work,
    sum_of,
    window_of,
)
from rnnx.formats.onnx._windows import (
    affine_grid,
    causal,
    col2im,
    col2im_work,
    convolution,
    convolution_work,
    convolution_workspace,
    deformed,
    rois,
    rois_work,
    unpool,
)

FAST, SLOW = 200, 5_000  # nanoseconds for an element: in a few calls of NumPy, and in a loop of Python
EACH = {
    "Acos": FAST, "Acosh": FAST, "ArgMax": FAST, "ArgMin": FAST, "Asin": FAST, "Asinh": FAST, "Atan": FAST,
    "Atanh": FAST, "Bernoulli": FAST, "BitCast": FAST, "BitwiseNot": FAST, "Ceil": FAST, "Celu": FAST, "Compress": FAST,
    "Cos": FAST, "Cosh": FAST, "CumProd": FAST, "DepthToSpace": FAST, "Erf": SLOW,
    "EyeLike": FAST, "Floor": FAST, "GatherElements": SLOW, "GlobalLpPool": FAST,
    "HardSwish": FAST, "Hardmax": FAST, "Identity": FAST, "IsInf": FAST, "IsNaN": FAST,
    "MeanVarianceNormalization": FAST, "Mish": FAST, "NegativeLogLikelihoodLoss": SLOW,
    "Optional": FAST, "OptionalGetElement": FAST, "OptionalHasElement": FAST, "RandomNormalLike": FAST,
    "RandomUniformLike": FAST, "ReduceL1": FAST, "ReduceL2": FAST, "ReduceLogSum": FAST, "ReduceLogSumExp": FAST,
    "ReduceProd": FAST, "ReduceSumSquare": FAST, "ReverseSequence": FAST, "Round": FAST, "Scatter": SLOW,
    "ScatterElements": SLOW, "ScatterND": SLOW, "SequenceAt": FAST, "SequenceConstruct": FAST, "SequenceEmpty": FAST,
    "SequenceErase": FAST, "SequenceInsert": FAST, "SequenceLength": FAST, "Shrink": FAST, "Sign": FAST, "Sin": FAST,
    "Sinh": FAST, "SoftmaxCrossEntropyLoss": SLOW, "SpaceToDepth": FAST, "StringNormalizer": SLOW, "SwiGLU": FAST,
    "Tan": FAST, "TensorScatter": SLOW, "ThresholdedRelu": FAST, "Trilu": FAST, "Unique": SLOW,
    "ai.onnx.ml.Binarizer": FAST, "ai.onnx.ml.Imputer": FAST, "ai.onnx.ml.LabelEncoder": SLOW,
    "ai.onnx.ml.Normalizer": FAST, "ai.onnx.preview.training.Adagrad": FAST, "ai.onnx.preview.training.Adam": FAST,
    "ai.onnx.preview.training.Momentum": FAST,
}  # fmt: skip
BROADCAST = (
    "BitShift", "BitwiseAnd", "BitwiseOr", "BitwiseXor", "CastLike", "Mod", "PRelu", "RMSNormalization",
    "Swish", "Xor",
)  # fmt: skip
REFUSED = {
    "AttributeHasValue": "it has no fixed type",
    "ImageDecoder": "a small picture can be unpacked into any amount of memory",
    "RegexFullMatch": "an expression can take any time",
    "ai.onnx.ml.TreeEnsemble": "a damaged tree can be walked for ever",
    "ai.onnx.ml.TreeEnsembleClassifier": "a damaged tree can be walked for ever",
    "ai.onnx.ml.TreeEnsembleRegressor": "a damaged tree can be walked for ever",
}  # fmt: skip
LISTED = (
    "ai.onnx.ml.ArrayFeatureExtractor", "ai.onnx.ml.CastMap", "ai.onnx.ml.CategoryMapper", "ai.onnx.ml.DictVectorizer",
    "ai.onnx.ml.FeatureVectorizer", "ai.onnx.ml.LinearClassifier", "ai.onnx.ml.LinearRegressor",
    "ai.onnx.ml.OneHotEncoder", "ai.onnx.ml.SVMClassifier", "ai.onnx.ml.SVMRegressor", "ai.onnx.ml.Scaler",
    "ai.onnx.ml.ZipMap",
)  # fmt: skip


def _evaluated(name: str, result: Size, workspace: Size, work: Size | None = None) -> Operator:
    return Operator(name, None, result, workspace, work)


OPERATORS = (
    *(_evaluated(name, Wide(2), Wide(10), each(work)) for name, work in EACH.items()),
    *(_evaluated(name, broadcast, scaled(broadcast_floats, 8), scaled(broadcast_floats, 20)) for name in BROADCAST),
    *(_evaluated(name, Refused(why), SAME) for name, why in REFUSED.items()),
    *(_evaluated(name, with_lists, scaled(with_lists, 4), with_lists_work) for name in LISTED),
    *(
        _evaluated(name, window_of, scaled(window_of, 6), scaled(window_of, 20))
        for name in ("BlackmanWindow", "HammingWindow", "HannWindow")
    ),
    *(
        _evaluated(name, given_shape, scaled(given_shape, 2), scaled(given_shape, 10))
        for name in ("RandomNormal", "RandomUniform")
    ),
    *(
        _evaluated(name, by_channel, scaled(by_channel, 8), scaled(by_channel, 10))
        for name in ("GroupNormalization", "InstanceNormalization")
    ),
    _evaluated("AffineGrid", affine_grid, scaled(affine_grid, 8), scaled(affine_grid, 10)),
    _evaluated("Attention", attention, scaled(attention, 8), attention_work),
    _evaluated("CausalConvWithState", causal(convolution), causal(convolution_workspace), causal(convolution_work)),
    _evaluated("CenterCropPad", crop, scaled(crop, 2)),
    _evaluated("Col2Im", col2im, scaled(col2im, 2), col2im_work),
    _evaluated("ConcatFromSequence", joined, joined),
    _evaluated("DFT", transform, scaled(transform, 4), scaled(transform, 10)),
    _evaluated("DeformConv", convolution, scaled(convolution_workspace, 2), deformed),
    _evaluated("Det", SAME, Wide(3), scaled(SAME, 100)),
    _evaluated("Einsum", einsum, einsum_all, einsum_work),
    _evaluated("LinearAttention", state_of_attention, scaled(state_of_attention, 6), state_of_attention_work),
    _evaluated("MaxRoiPool", rois, scaled(rois, 2), rois_work),
    _evaluated("MaxUnpool", unpool, scaled(unpool, 4), each(SLOW)),
    _evaluated("MelWeightMatrix", mel_weights, scaled(mel_weights, 2), mel_work),
    _evaluated("Multinomial", multinomial, scaled(multinomial, 4), scaled(multinomial, 100)),
    _evaluated("NonMaxSuppression", boxes_kept, scaled(boxes_kept, 8), boxes_compared),
    _evaluated("NonZero", non_zero, scaled(non_zero, 3), each(FAST)),
    _evaluated("OneHot", one_hot, scaled(one_hot, 3), scaled(one_hot, 2)),
    _evaluated("ai.onnx.preview.FlexAttention", attention, scaled(attention, 8), attention_work),
    _evaluated("RoiAlign", rois, scaled(rois, 2), rois_work),
    _evaluated("RotaryEmbedding", Wide(2), _rotated := sum_of(Wide(10), lambda info, x, cos, sin, places=None: (
        0 if places is None else 4 * gather(info, cos, places))), _rotated),
    _evaluated("STFT", frames, scaled(frames, 6), sum_of(scaled(frames, 10), frames_work)),
    _evaluated("SplitToSequence", split_up, split_up, split_up_work),
    _evaluated("StringConcat", broadcast, scaled(broadcast, 6), scaled(broadcast, 2)),
    _evaluated("StringSplit", texts_split, scaled(texts_split, 2), scaled(texts_split, 10)),
    _evaluated("TfIdfVectorizer", counted_words, scaled(counted_words, 2), counted_words_work),
)  # fmt: skip
