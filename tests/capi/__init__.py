"""The C library: include/diffuser_fast.h, as a C program meets it."""
