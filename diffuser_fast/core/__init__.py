"""The bottom layer: what a diffusion planner is, as data. numpy only; no device, no torch, no files."""
