"""An independent second opinion on Diffuser, in plain torch: any dtype, differentiable, slow and readable.

Everything here is written from the paper (Janner et al. 2022, "Planning with Diffusion for Flexible Behavior
Synthesis"), from the samplers' papers, and from the key names and conventions of published checkpoints.
Nothing is imported from the package under test, so that one's misunderstanding is not shared by the other.

networks     TemporalUnet, ValueFunction (main layout), Maze2dTemporalUnet, TemporalValue (maze2d layout)
attention    the linear attention block of the main layout
diffusion    noise schedule, GaussianDiffusion and its maze2d form, ValueDiffusion, guided and unguided steps
samplers     DDIM and DPM-Solver++(2M), as loops
normalizers  Gaussian, limits, CDF and debug normalisers, DatasetNormalizer
policies     GuidedPolicy, Policy, ValueGuide: look-alikes of the original's run-time objects
variants     what clones of the original and subclasses of its users do otherwise, under the same names
checkpoint   a folder as the original writes it -> the objects above
relatives    networks of diffusers, CleanDiffuser, diffusion_policy, lerobot, Decision Diffuser, by their keys
relative_plans, relative_objects  how those sample, and their run-time objects
goldens      the recorded traces beside this folder, and the policies that must reproduce them
draws        seeded weights and numbers for tests

Shapes: B plans, H horizon, D = A + O transition (actions first), C channels, T training steps, R denoising steps.
Networks, trajectories and tapes are [B, H, D] outside and [B, C, H] inside.
"""
