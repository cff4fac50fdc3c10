"""Network definitions in PyTorch, one file each, and the zoo of bundles we ship."""
