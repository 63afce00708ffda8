"""The GPU ladder, one command for any machine with an NVIDIA GPU: ``make gpu``, or ``python -m bench.gpu``.

It installs nothing and fetches nothing: the package comes from the checkout, torch and Triton from the Python that runs
it. See README.md of the folder above.
"""
