"""Floor 0: errors, configuration, device, registry, progress, files. Stands on nothing of ours."""
