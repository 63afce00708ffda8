"""Tests of the C++ engine that need numpy alone, so that they also run under sanitizers (`make sanitize`)."""
