"""Tables of measurements and spectra."""

import numpy as np
import pytest
from astropy import units
from astropy.io.votable.ucd import parse_ucd
from astropy.table import QTable

from spherex.spectra import COLUMNS, RECOVERY_COLUMNS, SCALE_COLUMNS, TRUTH_COLUMNS, make_table


@pytest.mark.parametrize(
    "column",
    dict.fromkeys((*COLUMNS, *TRUTH_COLUMNS, *RECOVERY_COLUMNS, *SCALE_COLUMNS)),
    ids=lambda column: column.name,
)
def test_ucds_are_in_the_vocabulary_of_the_ivoa(column):
    assert parse_ucd(column.ucd, check_controlled_vocabulary=True)


def test_a_table_survives_ecsv(tmp_path):
    table = make_table({"target": ["a", "bb"], "flux": [1.0, -2.5], "flags": 2**40, "detector": 3}, 2, {"code": "x"})
    table.write(tmp_path / "t.ecsv")
    back = QTable.read(tmp_path / "t.ecsv")
    assert back.colnames == [column.name for column in COLUMNS]
    assert back["flux"].unit == units.uJy
    assert back["flux"].value.tolist() == [1.0, -2.5]
    assert back["flags"].dtype == np.int64
    assert back["flags"].tolist() == [2**40] * 2
    assert np.isnan(back["chi2"]).all()
    assert back["flux"].info.meta == {"ucd": "phot.flux.density;em.IR"}
    assert back.meta == {"code": "x"}


def test_a_column_that_does_not_exist_is_refused():
    with pytest.raises(KeyError, match="no column fluxx"):
        make_table({"fluxx": 1.0}, 1)
