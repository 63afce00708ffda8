"""Loop cases as the emulator can afford them, planned by the CUDA engine and judged."""

from dataclasses import replace

import numpy as np
from bounds import within
from emulated.device import EmulatedDevice

from diffuser_fast import conformance as c
from diffuser_fast.backends.cuda.engine import CudaEngine
from diffuser_fast.core.loop import ranking

STEPS = 2  # of a loop, the last: where noise, guide and ranking end


class Short:
    """A loop case with its last denoising steps alone. plans: at most so many, if they are not ranked in groups."""

    def __init__(self, name, plans=None):
        self.case = next(case for case in c.loop_cases() if case.name == name)
        if plans is not None and self.case.candidates is None:
            self.case = replace(self.case, batch=min(self.case.batch, plans))
        self.loop, self.batch = c.last_steps(self.case.loop, STEPS), self.case.batch
        self.tape = self.case.tape[: self.loop.rows + 1]
        self.tables = self.case.tables and self.case.tables.steps(slice(-self.loop.rows, None))
        self.inpainting, self.candidates = self.case.inpainting, self.case.candidates or self.batch

    def engine(self, precision="float32", launches="stages", **device):
        return CudaEngine(self.loop, self.batch, EmulatedDevice(**device), precision, launches)

    def plan(self, engine, **more):
        return self.case.plan(engine, **{"noise": self.tape, "tables": self.tables, **more})

    def judge(self, found, precision="float32"):
        arithmetic = c.ARITHMETIC[precision]
        implied = c.implied_by_plan(
            self.loop, self.inpainting, self.tape, tables=self.tables, arithmetic=arithmetic
        )  # fmt: skip
        exactness = c.Target("cuda", precision=precision).exactness
        for field in ("x", "chain", *(("values",) if self.loop.guide else ())):
            within(getattr(found, field), getattr(implied, field), field, exactness=exactness)
        np.testing.assert_array_equal(found.order, ranking(found.values, self.candidates))
