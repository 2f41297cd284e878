"""What must hold: one file (or folder) per subject, laws and nothing else."""

if __name__ != "seqlaws.spec":
    raise ImportError("import seqlaws.spec: a bare 'import spec' would load every law a second time")
