"""All dropout noise: drawn here, once per call, as plain arrays that anybody can look at."""

from rnnx.dropout.checks import (
    NoiseShape,
    check_choice,
    check_noise_shape,
    check_rate,
    check_zoneout,
    resolve_noise_shape,
    shape_to_draw,
)
from rnnx.dropout.elementwise import (
    ALPHA_PRIME,
    alpha_dropout,
    alpha_dropout_backward,
    dropout,
    dropout_backward,
    gaussian_dropout,
    gaussian_dropout_backward,
    gaussian_noise,
)
from rnnx.dropout.masks import (
    DROPOUT_GATES,
    MODES,
    PROFILES,
    DropoutMasks,
    Profile,
    sample_masks,
)
from rnnx.dropout.noise import (
    Draws,
    SeedGenerator,
)
from rnnx.dropout.rounding import WEIGHT_NOISE, rounding_steps

__all__ = [
    "ALPHA_PRIME",
    "DROPOUT_GATES",
    "MODES",
    "PROFILES",
    "WEIGHT_NOISE",
    "Draws",
    "DropoutMasks",
    "NoiseShape",
    "Profile",
    "SeedGenerator",
    "alpha_dropout",
    "alpha_dropout_backward",
    "check_choice",
    "check_noise_shape",
    "check_rate",
    "check_zoneout",
    "dropout",
    "dropout_backward",
    "gaussian_dropout",
    "gaussian_dropout_backward",
    "gaussian_noise",
    "resolve_noise_shape",
    "rounding_steps",
    "sample_masks",
    "shape_to_draw",
]
