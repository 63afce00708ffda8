"""What `make gpu` (bench/gpu/session.py) checks on a GPU: right answers of its engines, and NVIDIA's sanitizer."""
