"""Damaged Level 2 files: no abort, no wrong pixel, no lost neighbour, no partial exposure.

The damage is random, with a fixed seed, and not chosen with the package in
mind: changed bits and bytes, runs of bytes, zeros, cuts, swapped blocks,
repeated and missing HDUs, changed cards. The pixels of an image that is read
are those of the intact file, unless bytes of that pixel itself were changed.
Not found, and not asked for, are changed values on cards that are still valid,
such as a digit of CRVAL1: positions, times, names, units and the wavelengths
and PSFs that depend on cards are compared only where no byte of a header was
changed.
"""

from __future__ import annotations

import dataclasses
import json
import os
import random
import subprocess
import sys
import warnings
from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest
from astropy.io import fits
from lsst.daf.butler import Butler

from spherex.archive import ObservationId

from .level2_helpers import ingest_level2
from .programs import run_well

SEED = int(os.environ.get("SPHEREX_DAMAGE_SEED", "20261127"))
DAMAGED = int(os.environ.get("SPHEREX_DAMAGED_FILES", "300"))
BATCH = 300
"""Damaged files that are ingested at once, each in an exposure of its own."""

NEIGHBOURS = 25
"""Intact files of each batch, of another detector of the exposures of damaged files."""

BLOCK, CARD = 2880, 80


@dataclasses.dataclass(frozen=True)
class Template:
    """Intact file, with the places of its parts."""

    content: bytes
    name: str
    headers: tuple[tuple[int, int], ...]
    data: tuple[tuple[int, int], ...]

    @property
    def hdus(self) -> list[tuple[int, int]]:
        return [(header[0], data[1]) for header, data in zip(self.headers, self.data, strict=True)]

    def of_exposure(self, number: int) -> tuple[str, bytes]:
        """Return the name and the content of the same image in another exposure."""
        observation, detector, run = self.name[7:24], int(self.name[25]), self.name[31:]
        old = ObservationId.parse(observation)
        new = ObservationId.parse(f"{observation[:10]}_{number // 4:04d}_{number % 4 + 1}")
        content = self.content
        for one, other in ((str(old), str(new)), (str(old.expidn(detector)), str(new.expidn(detector)))):
            assert one.encode() in content
            content = content.replace(one.encode(), other.encode())
        assert len(content) == len(self.content)
        return f"level2_{new}D{detector}_spx_{run}", content


def make_templates(directory: Path) -> dict[tuple[str, int], Template]:
    """Return simulated files of both releases and of two detectors, with small PSFs."""
    templates = {}
    for release in ("qr2", "qr3"):
        options = ["--product", "level2", "--release", release, "--detectors", "2,5"]
        run_well("spherex-simulate", directory / release, *options, "--exposures", "1", "--shape", "40")
        for path in sorted((directory / release).rglob("level2_*.fits")):
            with warnings.catch_warnings(), fits.open(path, disable_image_compression=True) as hdus:
                warnings.simplefilter("ignore")
                if "PSF" in hdus:
                    hdus["PSF"].data = hdus["PSF"].data[:, 45:56, 45:56]
                else:
                    # A lattice of three by three zones.
                    x, y = hdus["EPSF"].data["XCENTER"], hdus["EPSF"].data["YCENTER"]
                    kept = np.isin(x, np.unique(x)[:3]) & np.isin(y, np.unique(y)[:3])
                    hdus["EPSF"].data = hdus["EPSF"].data[kept]
                hdus.writeto(path, overwrite=True, output_verify="ignore")
            templates[release, int(path.name[25])] = describe(path)
    assert len(templates) == 4
    return templates


def describe(path: Path) -> Template:
    with fits.open(path, disable_image_compression=True) as hdus:
        places = [hdu.fileinfo() for hdu in hdus]
    headers = tuple((place["hdrLoc"], place["datLoc"]) for place in places)
    data = tuple((place["datLoc"], place["datLoc"] + place["datSpan"]) for place in places)
    return Template(path.read_bytes(), path.name, headers, data)


Damage = Callable[[random.Random, Template, bytearray], None]


def flip_bits(chance: random.Random, template: Template, content: bytearray) -> None:
    for _ in range(chance.choice((1, 1, 1, 5, 50))):
        content[chance.randrange(len(content))] ^= 1 << chance.randrange(8)


def flip_in_header(chance: random.Random, template: Template, content: bytearray) -> None:
    begin, end = chance.choice(template.headers)
    for _ in range(chance.choice((1, 1, 2))):
        content[chance.randrange(begin, end)] ^= 1 << chance.randrange(8)


def flip_in_small_table(chance: random.Random, template: Template, content: bytearray) -> None:
    begin, end = template.data[-1]
    content[chance.randrange(begin, min(end, begin + 1100))] ^= 1 << chance.randrange(8)


def change_bytes(chance: random.Random, template: Template, content: bytearray) -> None:
    begin = chance.randrange(len(content))
    end = min(begin + chance.choice((1, 8, 80, 3000)), len(content))
    content[begin:end] = chance.randbytes(end - begin)


def clear_bytes(chance: random.Random, template: Template, content: bytearray) -> None:
    begin = chance.randrange(len(content))
    end = min(begin + chance.choice((80, 512, 2880, 4096, 20000)), len(content))
    content[begin:end] = chance.choice((b"\0", b" ", b"\xff")) * (end - begin)


def cut_short(chance: random.Random, template: Template, content: bytearray) -> None:
    del content[chance.choice((chance.randrange(len(content)), chance.randrange(len(content) // BLOCK) * BLOCK)) :]


def drop_bytes(chance: random.Random, template: Template, content: bytearray) -> None:
    begin = chance.choice((chance.randrange(len(content)), chance.randrange(len(content) // BLOCK) * BLOCK))
    del content[begin : begin + chance.choice((1, CARD, 512, BLOCK, 4096))]


def swap_blocks(chance: random.Random, template: Template, content: bytearray) -> None:
    size = chance.choice((CARD, 512, BLOCK, 4096))
    one, other = (chance.randrange(len(content) // size - 1) * size for _ in range(2))
    content[one : one + size], content[other : other + size] = (
        content[other : other + size],
        content[one : one + size],
    )


def repeat_hdu(chance: random.Random, template: Template, content: bytearray) -> None:
    begin, end = chance.choice(template.hdus[1:])
    place = chance.choice([hdu[1] for hdu in template.hdus])
    content[place:place] = content[begin:end]


def drop_hdu(chance: random.Random, template: Template, content: bytearray) -> None:
    begin, end = chance.choice(template.hdus)
    del content[begin:end]


def change_card(chance: random.Random, template: Template, content: bytearray) -> None:
    begin, end = chance.choice(template.headers)
    at = chance.randrange(begin, end, CARD)
    card = content[at : at + CARD]
    values = (
        b"T",
        b"0",
        b"-1",
        b"1",
        b"16",
        b"-64",
        b"1E400",
        b"NaN",
        b"99999999999",
        b"''",
        b"'IMAGE'",
        b"(1,2)",
        b"",
    )
    kind = chance.randrange(4)
    if kind == 0:
        card = card[:10] + chance.choice(values).rjust(20)
    elif kind == 1:
        card = bytearray()
    elif kind == 2:
        other = chance.randrange(begin, end, CARD)
        card = content[other : other + CARD]
    else:
        card = card[:10] + bytes(chance.choice(b" '/=0123456789.-+EDTF") for _ in range(30))
    content[at : at + CARD] = card[:CARD].ljust(CARD)


DAMAGES: tuple[Damage, ...] = (
    flip_bits,
    flip_in_header,
    flip_in_header,
    flip_in_small_table,
    change_bytes,
    clear_bytes,
    cut_short,
    drop_bytes,
    swap_blocks,
    repeat_hdu,
    drop_hdu,
    change_card,
    change_card,
)

GET = """
import json, sys, warnings
from pathlib import Path
import numpy as np
from lsst.daf.butler import Butler
from spherex.errors import UserError

warnings.simplefilter("ignore")
np.seterr(all="ignore")
repo, names, out = sys.argv[1], json.loads(Path(sys.argv[2]).read_text()), Path(sys.argv[3])
PLACES = np.array([0.0, 7.0, 39.0])


def parts(butler, ref):
    image = butler.get(ref)
    yield "IMAGE", image.data
    yield "VARIANCE", image.variance
    yield "FLAGS", image.flags
    yield "ZODI", image.zodi
    # The image reads these two when they are used.
    if image.planes.keys() & {"PSF", "EPSF"}:
        model = butler.get(ref.makeComponentRef("psf"))
        yield "PSF", np.concatenate([model.samples.ravel(), model.x, model.y])
    if "WCS-WAVE" in image.planes:
        wavelength = butler.get(ref.makeComponentRef("wavelength"))
        yield "WCS-WAVE", [part.value for part in wavelength.at(PLACES, PLACES)]
    for component in ("wcs", "bbox"):
        butler.get(ref.makeComponentRef(component))


with Butler.from_config(repo) as butler:
    refs = {}
    for ref in butler.query_datasets("level2", "SPHEREx/level2", limit=None):
        refs[butler.getURI(ref).basename()] = ref
    with out.open("a") as stream:
        for name in names:
            print(json.dumps([name, "began", ""]), file=stream, flush=True)
            answer = ["", ""]
            found = {}
            try:
                for part, values in parts(butler, refs[name]):
                    if values is not None:
                        found[part] = np.asarray(values)
            except UserError as error:
                answer = ["refused", str(error)]
            except Exception as error:
                cause = error.__cause__ or error.__context__
                answer = ["refused" if isinstance(cause, UserError) else "failed", f"{type(error).__name__}: {error}"]
            np.savez(out.parent / f"{name}.npz", **found)
            print(json.dumps([name, *answer]), file=stream, flush=True)
"""


def get_all(repo: Path, names: list[str], directory: Path) -> dict[str, tuple[str, str]]:
    """Return what ``butler.get`` made of files, in two processes; an abort is that of the last file of one."""
    answers = {}
    processes = []
    for number in range(2):
        todo, out = directory / f"names{number}.json", directory / f"answers{number}.txt"
        todo.write_text(json.dumps(names[number::2]))
        arguments = [sys.executable, "-c", GET, repo, todo, out]
        processes.append((subprocess.Popen(arguments, stderr=subprocess.PIPE, text=True), out))
    for process, out in processes:
        _, errors = process.communicate()
        part = {}
        for line in out.read_text().splitlines():
            name, kind, text = json.loads(line)
            part[name] = (kind, text)
        assert process.returncode == 0, (process.returncode, list(part)[-1], errors[-2000:])
        answers |= part
    return answers


def wrong_part(template: Template, intact: bytes, damaged: bytes, found: dict, expected: dict) -> str | None:
    """Return the name of a part whose values differ although its bytes do not."""
    same_size = len(intact) == len(damaged)
    changed = np.frombuffer(intact, "u1") != np.frombuffer(damaged, "u1") if same_size else None
    is_header_changed = changed is None or any(changed[begin:end].any() for begin, end in template.headers)
    names = {}
    for (begin, end), place in zip(template.headers, template.data, strict=True):
        header = fits.Header.fromstring(intact[begin:end])
        names[header.get("EXTNAME", "PRIMARY")] = place, header.get("ZIMAGE", False)
    for part, values in found.items():
        if part == "EPSF":
            continue
        reference = expected[part]
        place, is_compressed = names["EPSF" if part == "PSF" and "EPSF" in names else part]
        if values.shape == reference.shape and np.array_equal(values, reference, equal_nan=values.dtype.kind == "f"):
            continue
        is_data_changed = changed is not None and changed[place[0] : place[1]].any()
        if part in ("PSF", "WCS-WAVE") or is_compressed:
            if is_header_changed or is_data_changed:
                continue
            return part
        if values.shape != reference.shape or changed is None:
            return part
        bytes_changed = changed[place[0] : place[0] + 4 * reference.size].reshape(*reference.shape, 4).any(axis=-1)
        differs = ~((values == reference) | ((values != values) & (reference != reference)))
        if (differs & ~bytes_changed).any():
            return part
    return None


@pytest.mark.slow
def test_damaged_files(make_repo: Callable[..., Path], tmp_path: Path) -> None:
    templates = make_templates(tmp_path / "intact")
    chance = random.Random(SEED)
    expected: dict[tuple[str, int], dict] = {}
    problems: list[str] = []
    counts = {"refused at ingest": 0, "refused at get": 0, "read": 0}
    for batch in range(DAMAGED // BATCH):
        root = tmp_path / f"batch{batch}"
        (root / "in").mkdir(parents=True)
        files: dict[str, tuple[tuple[str, int], bytes, str]] = {}
        good: list[str] = []
        for number in range(batch * BATCH, (batch + 1) * BATCH):
            release = chance.choice(("qr2", "qr3"))
            key = (release, 2)
            name, intact = templates[key].of_exposure(number)
            damage = chance.choice(DAMAGES)
            content = bytearray(intact)
            damage(chance, templates[key], content)
            files[name] = key, intact, damage.__name__
            (root / "in" / name).write_bytes(content)
            if number % (BATCH // NEIGHBOURS) == 0:
                name, content = templates[release, 5].of_exposure(number)
                good.append(name)
                (root / "in" / name).write_bytes(content)
        for key, template in templates.items():
            # An exposure that no damaged file has.
            name, content = template.of_exposure(9000 + key[1])
            if key[1] == 2:
                good.append(name)
                files[name] = key, content, "none"
                (root / "in" / name).write_bytes(content)
        repo = make_repo(root / "repo")
        outcome = ingest_level2(repo, "--transfer", "direct", root / "in")
        failed = {}
        for line in outcome.failures:
            path, _, reason = line.removeprefix("failed: ").partition(": ")
            failed[Path(path).name] = reason
        with Butler.from_config(str(repo)) as butler:
            refs = butler.query_datasets("level2", "SPHEREx/level2", limit=None)
            stored = {butler.getURI(ref).basename(): ref.dataId["exposure"] for ref in refs}
            exposures = {record.id for record in butler.query_dimension_records("exposure", limit=None)}
        everything = {path.name for path in (root / "in").iterdir()}
        problems += [f"lost neighbour {name}: {failed.get(name)}" for name in good if name not in stored]
        problems += [f"neither in nor named: {name}" for name in everything - stored.keys() - failed.keys()]
        problems += [f"both in and failed: {name}" for name in stored.keys() & failed.keys()]
        problems += [f"exposure without an image: {exposure}" for exposure in exposures - set(stored.values())]
        problems += [f"cannot be understood: {n}: {r}" for n, r in failed.items() if "cannot be understood" in r]
        counts["refused at ingest"] += len(failed)
        answers = get_all(repo, sorted(stored), root)
        for name, key in ((n, f[0]) for n, f in files.items() if f[2] == "none"):
            expected[key] = dict(np.load(root / f"{name}.npz"))
        for name, (key, intact, damage) in files.items():
            if name not in stored:
                continue
            kind, text = answers[name]
            if kind:
                counts["refused at get"] += 1
                if kind == "failed" or name not in text:
                    problems.append(f"{damage} {name}: {text}")
                continue
            counts["read"] += 1
            damaged, found = (root / "in" / name).read_bytes(), dict(np.load(root / f"{name}.npz"))
            part = wrong_part(templates[key], intact, damaged, found, expected[key])
            if part is not None:
                problems.append(f"{damage} {name}: wrong values in {part}")
        for path in (root / "in").iterdir():
            path.unlink()
        for path in root.glob("*.npz"):
            path.unlink()
    assert not problems, f"{len(problems)} problems\n" + "\n".join(problems[:40])
    assert sum(counts.values()) == DAMAGED + 2 * (DAMAGED // BATCH)
    assert min(counts.values()) > 5, counts
