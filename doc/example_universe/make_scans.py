"""Write two scans of nothing but grain and fog, a calibration, and their tables for ingest-files."""

from pathlib import Path

import numpy as np
from astropy.io import fits

lines = ["file,plate"]
for plate in (7, 8):
    density = np.random.default_rng(plate).normal(0.3, 0.05, (64, 64)).astype(np.float32)
    hdu = fits.PrimaryHDU(density)
    hdu.header["STEP"] = (10.0, "[um] pixel size on the plate")
    hdu.writeto(f"plate_{plate}.fits", overwrite=True)
    lines.append(f"plate_{plate}.fits,{plate}")
Path("scans.csv").write_text("\n".join(lines) + "\n")

Path("wedge_1981.yaml").write_text("scale: 1.02\n")
Path("wedges.csv").write_text("file,observatory\nwedge_1981.yaml,Tautenburg\n")
