"""What the GPU engines share: fusion groups, staging buffers, the CUDA graph, and a plan as a list of stages.

A stage is what is computed between two moments at which every thread waits for all others. ``stages.py`` says what a
stage is, ``compile.py`` makes them of a Program, ``plan.py`` of a SamplingLoop, ``executor.py`` runs them in numpy.
"""
