# Weights in the layout of the micro-kernels, for the instruction set that serves this process.

def _choose_isa():
    """The instruction set level in use: ``RNNX_ISA``, or the best this CPU has."""
    wanted = os.environ.get("RNNX_ISA", "")
    known = ("avx512", "avx2", "neon", "generic")
    levels = [name for name in known if rx_leaf_get(name.encode(), 4, RX_FULL) != NULL]
    if not wanted:
        return levels[0], levels
    if wanted not in levels:
        raise ImportError(f"RNNX_ISA must be one of {levels} on this CPU and build, got {wanted!r}")
    return wanted, levels


ISA, ISA_LEVELS = _choose_isa()


GATES = {"lstm": 4, "gru_after": 3, "gru_before": 3, "simple_rnn": 1}
WEIGHTS = {"full": RX_FULL, "bf16": RX_BF16, "int8": RX_INT8, "int8x16": RX_INT8X16,
           "int16": RX_INT8X16}                          # the last in two planes
PLANE_STEP = 254                                         # 16-bit numbers are 254 * high + low, both within +-127
LARGEST = {"int8": 127, "int8x16": 127, "int16": 127 * PLANE_STEP}       # what the largest weight of a column becomes


cdef list planes_of(kernel, str weights, scale=None):
    """What is packed for a kernel, plane by plane: whole numbers and their columns' scales; or the kernel itself."""
    if weights not in LARGEST:
        return [(kernel, None)]
    with np.errstate(invalid="ignore"):  # what is no number is left out of the scale, and stays none
        if scale is None:
            scale = np.fmax.reduce(np.abs(kernel), axis=0, initial=0) / np.float32(LARGEST[weights])
            scale[scale == 0] = 1
        numbers, step = np.rint(kernel / scale), np.float32(PLANE_STEP)
        if weights != "int16":
            return [(numbers, scale)]
        high = np.rint(numbers / step)
        return [(high, scale * step), (numbers - step * high, scale)]


@functools.lru_cache(maxsize=64)
def windows(Py_ssize_t units, Py_ssize_t blocks, Py_ssize_t panel):
    """Which units the panels of a block-diagonal kernel meet: from where on, and how many, the same for all panels.

    A panel whose columns belong to one block meets the units of that block. One that goes over an edge meets those of
    all its blocks, and has zeros where unit and column are of different ones. Both numbers are whole groups of 8-bit
    weights.
    """
    size, whole = units // blocks, padded(units, 4)
    first = np.arange(0, units, panel)
    low = first // size * size // 4 * 4
    high = ((np.minimum(first + panel, units) - 1) // size + 1) * size
    depth = int(min(padded((high - low).max(), 4), whole))
    return np.ascontiguousarray(np.minimum(low, whole - depth), np.intp), depth


@functools.lru_cache(maxsize=16)
def places_in_windows(Py_ssize_t units, Py_ssize_t blocks, Py_ssize_t panel):
    """For each row of a window and each unit of a panel: the other unit's number in its block, and is it there?"""
    starts, depth = windows(units, blocks, panel)
    size, unit = units // blocks, np.arange(units)
    place = np.arange(depth)[:, None] + starts[unit // panel] - unit // size * size
    return np.clip(place, 0, size - 1), (place >= 0) & (place < size)


cdef inline Py_ssize_t depth_of(const rx_leaf *leaf, Py_ssize_t rows) noexcept nogil:
    """Rows of a panel for so many rows of weights."""
    return leaf.scale_rows + padded(rows, leaf.group)


cdef const rx_leaf *leaf_for(Py_ssize_t units, int itemsize, int weights=RX_FULL):
    """The leaves for a layer: the wide panels of AVX-512 where they do not pad many more units than those of AVX2."""
    cdef const rx_leaf *leaf = rx_leaf_get(ISA.encode(), itemsize, weights)
    cdef const rx_leaf *narrow = rx_leaf_get(b"avx2", itemsize, weights)
    if ISA == "avx512" and padded(units, leaf.nr) > padded(units, narrow.nr) + units // 8:
        return narrow
    return leaf


@cython.final
cdef class Packed:
    """Weights of one recurrent layer in the layout of the tiles; see ``csrc/leaf.h``.

    Parameters
    ----------
    cell : str
        ``"lstm"``, ``"gru_after"``, ``"gru_before"`` or ``"simple_rnn"``.
    kernel, recurrent_kernel, bias : arrays or None
        As in the ``*Params`` classes; already validated. Kernels in Fortran's order (the transpose of those of PyTorch)
        are packed from there, and their gradients come in that order.
    activation, recurrent_activation : str
        Names in ``ACTIVATIONS``.
    weights : str
        What the tiles read, a name in ``WEIGHTS``: ``"full"``, or of float32 kernels ``"bf16"``, or ``"int8"``,
        ``"int8x16"`` or ``"int16"`` with a scale for each column, for inference only.
    peepholes : array of shape (3*units,) or None
        Of an LSTM: weights of the gates i f o on the cell.
    clip : float
        Bound of what the activations of the gates take; 0 for none.
    coupled : bool
        Of an LSTM: the forget gate is 1 - i.
    columns : tuple of int
        Of a GRU: which third of the columns of kernels and bias belongs to each of the gates z, r and h.
    blocks : int
        Of the recurrent kernel, which has the rows of one block: each column those of its own.
    scales : tuple of two arrays of shape (G*units,), each may be None
        What the columns of the two kernels are whole multiples of, by at most ``LARGEST``, if that is known.

    Attributes
    ----------
    dtype : dtype
    features, units : int
    products : int
        Multiplications of one row and step.
    forward_only : bool
        Whether there are peepholes, a clip or coupled gates, which have no backward pass here.
    """

    cdef const rx_leaf *leaf
    cdef int cell, activation, recurrent_activation
    cdef readonly bint narrow, forward_only
    cdef str weights
    cdef double clip
    cdef bint coupled
    cdef readonly Py_ssize_t blocks
    cdef Py_ssize_t F, H, U, G, D, first, ld, ldg
    cdef object starts
    cdef Py_ssize_t column[RX_MAX_GATES]  # block of the kernels' columns for each gate
    cdef object kernel, recurrent_kernel, bias_x, bias_q, peepholes
    cdef tuple scales        # of the columns of both kernels, or None twice
    cdef list made           # panels: forward of h and of x, backward of h and of x
    cdef readonly object dtype
    cdef readonly Py_ssize_t products

    def __init__(self, str cell, kernel, recurrent_kernel, bias, str activation, str recurrent_activation,
                 str weights="full", peepholes=None, double clip=0, bint coupled=False, tuple columns=(0, 1, 2),
                 Py_ssize_t blocks=1, tuple scales=(None, None)):
        cdef Py_ssize_t g
        self.cell = CELLS[cell]
        self.activation = ACTIVATIONS[activation]
        self.recurrent_activation = ACTIVATIONS[recurrent_activation]
        kernel, recurrent_kernel = (readable(array) for array in (kernel, recurrent_kernel))
        if weights != "full" or not cnp.PyArray_IS_F_CONTIGUOUS(kernel):
            kernel = np.ascontiguousarray(kernel)
        if weights != "full" or blocks > 1 or not cnp.PyArray_IS_F_CONTIGUOUS(recurrent_kernel):
            recurrent_kernel = np.ascontiguousarray(recurrent_kernel)
        self.dtype = kernel.dtype
        self.H, self.blocks = recurrent_kernel.shape[0] * blocks, blocks
        self.leaf = leaf_for(self.H, self.dtype.itemsize, WEIGHTS[weights])
        self.narrow, self.weights = weights != "full", weights
        self.kernel, self.recurrent_kernel, self.scales = kernel, recurrent_kernel, scales
        self.F, self.D = kernel.shape[0], self.H
        if blocks > 1:
            self.starts, self.D = windows(self.H, blocks, self.leaf.nr)
        self.U = padded(self.H, self.leaf.nr)
        self.G = GATES[cell]
        for g in range(self.G):
            self.column[g] = columns[g] if self.G == 3 else g
        self.products = (self.F + self.D) * self.G * self.H
        self.first = 1 if self.G == 3 else 0
        self.ld = pad_stride(self.U, self.dtype.itemsize)
        self.ldg = pad_stride((self.G + self.first) * self.U, self.dtype.itemsize)
        self.made = [None] * 4
        self._fold_bias(bias)
        self.clip, self.coupled = clip, coupled
        self.forward_only = peepholes is not None or clip > 0 or coupled
        if peepholes is not None:
            self.peepholes = aligned((self.G, self.U), self.dtype, True)
            self.peepholes[[0, 1, 3], :self.H] = peepholes.reshape(3, self.H)

    @property
    def features(self):
        return self.F

    @property
    def units(self):
        return self.H

    @property
    def table_bytes(self):
        """Bytes of a row of `table`."""
        return self.G * self.U * self.leaf.itemsize

    def table(self, rows):
        """``x W + b`` for many rows of x, as ``forward`` takes it.

        Parameters
        ----------
        rows : array of shape (count, features)

        Returns
        -------
        array of shape (count, columns)
            Opaque: gates in the order of the engine, with their padding.
        """
        return project_table(self, rows)

    def prepare(self):
        """Make the panels that a forward pass needs, which the first one makes otherwise."""
        self.panels(False, True, None)
        self.panels(False, False, None)

    def panel_forms(self):
        """Shape and dtype of the panels of a forward pass: of the kernel and of the recurrent kernel."""
        cdef Py_ssize_t planes = 2 if self.weights == "int16" else 1, panel = self.leaf.nr, rows
        dtype = np.dtype(f"i{self.leaf.weightsize}") if self.narrow else self.dtype
        return [((planes * (self.U // panel), self.G, depth_of(self.leaf, rows), panel), dtype)
                for rows in (self.F, self.D)]

    def pack_into(self, int which, cnp.ndarray panels):
        """Fill an array of such a form; 0 is the kernel, 1 the recurrent kernel."""
        self.panels(False, which == 0, None, panels)

    def made_panels(self):
        """The panels of a forward pass as far as they are made, None for others."""
        return [self.made[1], self.made[0]]

    def adopt(self, panels):
        """Compute from these arrays of such forms, which hold what `pack_into` fills in and do not change."""
        self.made[1], self.made[0] = panels

    cdef object _fold_bias(self, bias):
        """One bias per slot; the recurrent bias joins it wherever it is simply added."""
        cdef Py_ssize_t G = self.G, H = self.H, g
        self.bias_x = aligned((G, self.U), self.dtype, True)
        self.bias_q = aligned((self.U,), self.dtype, True)
        if bias is None:
            return None
        rows = bias.reshape(-1, G, H)[:, [self.column[g] for g in range(G)]]
        total = rows[0].copy()
        if self.cell == RX_GRU_AFTER:
            total[:2] += rows[1, :2]
            self.bias_q[:H] = rows[1, 2]
        self.bias_x[:, :H] = total[[2, 0, 1]] if G == 3 else total

    cdef object panels(self, bint backward, bint of_x, list kept, cnp.ndarray place=None):
        """The panels of one kernel for one direction, made on first use.

        Forward they are (panels, G, rows, panel) for each plane, the rows after the scales; backward, of the
        transpose, (panels, G, units, panel), where the kernel's gates come in slot order: the GRU has h z r, so that
        the gates of x and those of h are runs. ``kept`` is None, or for each gate of a shared mask the indices of the
        rows that it keeps and its values there: then the panels have these rows alone, times the mask, and serve this
        call only. ``place`` is an array to make them in, of which nothing is kept here.
        """
        cdef Py_ssize_t rows = self.F if of_x else self.D, panel = self.leaf.nr, H = self.H, G = self.G
        cdef Py_ssize_t depth = rows if not backward else self.U if of_x else self.D, slot, gate, count = rows
        cdef Py_ssize_t panels = ((rows if backward else H) + panel - 1) // panel, size = self.leaf.weightsize, stride
        cdef bint across
        cdef const int *index = NULL
        cdef const char *scale = NULL
        cdef const char *block
        cdef char *out
        made = self.made[2 * backward + of_x] if kept is None and place is None else None
        if made is not None:
            return made
        depth = depth_of(self.leaf, depth)
        stride = G * depth * panel
        kernel = self.kernel if of_x else self.recurrent_kernel
        if self.blocks > 1 and not of_x:
            return self._panels_of_blocks(backward, place)
        if kept is not None:  # rows are chosen where they lie one after the other
            kernel = np.ascontiguousarray(kernel)
        across = not cnp.PyArray_IS_C_CONTIGUOUS(kernel)
        planes = planes_of(kernel, self.weights, self.scales[0 if of_x else 1])
        if place is not None:
            made = place
        else:
            made = aligned((len(planes) * panels, G, depth, panel),
                           np.dtype(f"i{size}") if self.narrow else self.dtype, across and backward and depth > H)
        for plane, (numbers, scales) in enumerate(planes):
            for slot in range(G):
                gate = (slot + 2) % 3 if of_x and G == 3 else slot
                block = data_of(numbers) + self.column[gate] * H * (rows if across else 1) * self.leaf.itemsize
                out = data_of(made) + (<Py_ssize_t>plane * panels * G + slot) * depth * panel * size
                if scales is not None:
                    scale = data_of(scales) + self.column[gate] * H * self.leaf.itemsize
                if kept is not None:
                    columns, values = kept[gate if len(kept) > 1 else 0]
                    index, scale, count = <const int *>data_of(columns), data_of(values), len(columns)
                if across and backward:
                    self.leaf.pack_b(H, rows, block, rows, NULL, NULL, out, stride)
                elif across:
                    self.leaf.pack_b_transposed(rows, depth, H, block, rows, NULL, NULL, out, stride)
                elif backward:
                    self.leaf.pack_b_transposed(H, depth, count, block, G * H, index, scale, out, stride)
                else:
                    self.leaf.pack_b(count, H, block, G * H, index, scale, out, stride)
        if kept is None and place is None:
            self.made[2 * backward + of_x] = made
        return made

    cdef bint _whole(self) noexcept:
        """Whether each panel of a block-diagonal kernel has columns of one block."""
        return self.D * self.blocks == self.H and self.D % self.leaf.nr == 0

    cdef object _panels_of_blocks(self, bint backward, cnp.ndarray place=None):
        """`panels` of a block-diagonal recurrent kernel, forward or backward: (panels, G, D, panel) for each plane."""
        cdef Py_ssize_t panel = self.leaf.nr, H = self.H, G = self.G, D = self.D, gate, block
        cdef Py_ssize_t panels = self.U // panel, depth = depth_of(self.leaf, D), stride = G * depth * panel
        cdef Py_ssize_t size = self.leaf.weightsize
        cdef const char *source
        cdef const char *scale = NULL
        cdef char *out
        planes = planes_of(self.recurrent_kernel, self.weights, self.scales[1])
        made = place
        if made is None:
            made = aligned((len(planes) * panels, G, depth, panel), np.dtype(f"i{size}") if self.narrow else self.dtype)
        for plane, (numbers, scales) in enumerate(planes):
            if not self._whole():
                numbers = self._in_windows(numbers, backward)
            for gate in range(G):
                source = data_of(numbers) + self.column[gate] * H * self.leaf.itemsize
                out = data_of(made) + (<Py_ssize_t>plane * panels * G + gate) * depth * panel * size
                if scales is not None:
                    scale = data_of(scales) + self.column[gate] * H * self.leaf.itemsize
                if not backward or not self._whole():
                    self.leaf.pack_b(D, H, source, G * H, NULL, scale, out, stride)
                    continue
                for block in range(self.blocks):
                    self.leaf.pack_b_transposed(D, D, D, source + block * D * self.leaf.itemsize, G * H, NULL, NULL,
                                                out + block * D // panel * stride * size, stride)
        if place is None:
            self.made[2 * backward] = made
        return made

    cdef object _in_windows(self, numbers, bint backward):
        """The rows of a block-diagonal kernel, or of the transpose of each gate, as the panels' windows have them."""
        cdef Py_ssize_t size = self.H // self.blocks
        place, there = places_in_windows(self.H, self.blocks, self.leaf.nr)
        by_gate = numbers.reshape(size, self.G, self.H)
        if backward:
            unit = np.arange(self.H)
            found = by_gate[unit % size, :, unit // size * size + place].transpose(0, 2, 1)
        else:
            found = np.take_along_axis(by_gate, place[:, None], axis=0)
        return np.ascontiguousarray(np.where(there[:, None], found, np.zeros((), numbers.dtype))).reshape(self.D, -1)

    cdef object _out_of_windows(self, found):
        """(D, G*H) sums in the windows of panels -> (units / blocks, G*H)."""
        cdef Py_ssize_t size = self.H // self.blocks
        if self._whole():
            return found
        unit = np.arange(self.H)
        place = np.arange(size)[:, None] + unit // size * size - self.starts[unit // self.leaf.nr]
        return np.take_along_axis(found.reshape(self.D, self.G, self.H), place[:, None], axis=0).reshape(size, -1)

    cdef void fill(self, Job *job) noexcept:
        cdef Py_ssize_t rows = BLOCK_BYTES // (self.ldg * self.leaf.itemsize)
        job.block_rows = rows if rows >= MIN_ROWS_OF_BLOCK else ROWS_OF_WIDE_BLOCK
        job.leaf, job.cell = self.leaf, self.cell
        job.activation, job.recurrent_activation = self.activation, self.recurrent_activation
        job.F, job.H, job.U, job.G = self.F, self.H, self.U, self.G
        job.size, job.first, job.ld, job.ldg = self.leaf.itemsize, self.first, self.ld, self.ldg
        job.row, job.gate_row = self.ld * job.size, self.ldg * job.size
        job.ldr = RX_ROUNDED_ROW(max(self.F, self.H), self.leaf.operandsize) if self.leaf.round_rows != NULL else 0
        job.planes = 2 if self.weights == "int16" else 1
        job.plane_x = self.U * self.G * depth_of(self.leaf, self.F)
        job.plane_h = self.U * self.G * depth_of(self.leaf, self.D)
        job.D, job.starts = self.D, <const Py_ssize_t *>data_of(self.starts)
        job.bias_x, job.bias_q = data_of(self.bias_x), data_of(self.bias_q)
        job.peepholes = NULL if self.peepholes is None else data_of(self.peepholes)
        job.clip, job.coupled = self.clip, self.coupled

    cdef object as_kernel(self, cnp.ndarray sums, bint of_x, bint transposed):
        """(n, G*U), of x in slot order -> (n, G*H) with the columns and in the memory order of the kernel.

        Transposed sums are (G*U, n or more).
        """
        cdef cnp.ndarray kernel = self.kernel if of_x else self.recurrent_kernel
        cdef bint across = not cnp.PyArray_IS_C_CONTIGUOUS(kernel)
        cdef Py_ssize_t n = sums.shape[0], wide = self.G * self.H, slot, gate, column
        cdef Py_ssize_t ld = sums.shape[1], rows, count
        cdef bint turns = across != transposed
        if transposed:
            n = self.F if of_x else self.H
        rows, count = (self.H, n) if transposed else (n, self.H)
        cdef cnp.ndarray made = aligned((wide, n) if across else (n, wide), self.dtype)
        cdef const char *block
        cdef char *place
        for slot in range(self.G):
            gate = (slot + 2) % 3 if of_x and self.G == 3 else slot
            column = self.column[gate] * self.H
            block = data_of(sums) + slot * self.U * (ld if transposed else 1) * self.leaf.itemsize
            place = <char *>cnp.PyArray_DATA(made) + column * (n if across else 1) * self.leaf.itemsize
            if n * wide < ELEMENTS_WORTH_THE_LOCK:
                copy_block(block, rows, count, ld, turns, place, n if across else wide, self.leaf.itemsize)
            else:
                with nogil:
                    copy_block(block, rows, count, ld, turns, place, n if across else wide, self.leaf.itemsize)
        return made.T if across else made

    cdef object as_bias(self, cnp.ndarray sums, bint of_x):
        """(G*U,), of x in slot order -> (G*H,) with the bias' columns."""
        cdef Py_ssize_t slot, column
        cdef cnp.ndarray made = np.empty(self.G * self.H, self.dtype)
        for slot in range(self.G):
            column = self.column[(slot + 2) % 3 if of_x and self.G == 3 else slot] * self.H
            memcpy(data_of(made) + column * self.leaf.itemsize,
                   data_of(sums) + slot * self.U * self.leaf.itemsize, self.H * self.leaf.itemsize)
        return made
