"""What `make gpu` (bench/gpu.py) checks on a GPU: answers of engines, NVIDIA's sanitizer, what models assume."""
