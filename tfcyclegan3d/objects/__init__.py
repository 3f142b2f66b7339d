"""From masks to objects: numbering them, measuring them, pairing nuclei with their Golgi."""
