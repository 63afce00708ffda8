"""Every Triton kernel of the named workloads compiled for every architecture, on a machine without a GPU.

``make gpu-check``, or ``python -m bench.offline``. It fails on what does not compile, on registers spilled to memory,
and on more shared memory than a block may have.
"""
