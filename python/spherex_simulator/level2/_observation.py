"""Names of the observations, as the survey planning gives them."""

from __future__ import annotations

__all__ = ["observation_of"]

import datetime

from spherex.archive import ObservationId

from .._pointing import CADENCE, SLEWS_TO_A_TARGET, Pointing

_PERIOD = datetime.timedelta(days=3.5)
_CADENCE = datetime.timedelta(seconds=CADENCE)


def observation_of(pointing: Pointing) -> ObservationId:
    """Return the name of an observation.

    A week has two planning periods. The large slews are counted from the
    begin of the period by their time, so that observations of simulations
    with different starts have different names.

    Parameters
    ----------
    pointing
        Number and time of the exposure.
    """
    small = pointing.exposure % SLEWS_TO_A_TARGET
    slewed = pointing.begin - small * _CADENCE
    year, week, _ = slewed.isocalendar()
    since_monday = slewed - datetime.datetime.fromisocalendar(year, week, 1)
    plan, since_plan = divmod(since_monday, _PERIOD)
    large = since_plan // (SLEWS_TO_A_TARGET * _CADENCE)
    return ObservationId(year, week, plan + 1, "A", large + 1, small + 1)
