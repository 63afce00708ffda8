"""Triton kernels: tensors in, tensors out. They know no network and import nothing else of this package.

The folder installs as ``diffuser_fast.kernels``. Imported under any other name (as ``kernels``, from a checkout that
happens to be the working directory) it would put a second copy of every kernel and its compile cache into the process.
"""

if __name__ != "diffuser_fast.kernels":
    raise ImportError(
        f"this folder is the package diffuser_fast.kernels and cannot be imported as {__name__!r}: "
        "install the checkout (pip install -e .) and import diffuser_fast.kernels"
    )
