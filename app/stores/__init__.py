"""Where reports live: one interface, Redis for real, memory for tests of the logic around it."""
