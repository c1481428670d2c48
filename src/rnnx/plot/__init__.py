"""Pictures of what a recurrent network does: dropped numbers, gates, training, uncertainty. Needs matplotlib.

Colours are taken from a palette that colour-blind people can tell apart; background and text follow matplotlib's
current style, so that ``plt.style.use("dark_background")`` is enough for a dark page. Nothing is shown or saved here.
"""

from rnnx.plot.gates import gates
from rnnx.plot.history import history
from rnnx.plot.masks import masks
from rnnx.plot.uncertainty import reliability, uncertainty

__all__ = ["gates", "history", "masks", "reliability", "uncertainty"]
