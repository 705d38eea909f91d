"""Hot spots are those of another implementation of IEC 60076-7, the package ``transformer-thermal-model``.

The two read a profile alike once a point's load is the load of the interval that ends there. They differ in one thing:
the package's ``DistributionTransformer`` adds the surcharge of a room to the rise at rated losses, so that an idle
machine is less warm than its room; here, as in its ``PowerTransformer``, the room itself is warmer.
"""

from __future__ import annotations

from datetime import datetime, timedelta
from typing import Any

import numpy as np
import pytest

from cosim.measures import OilTransformer, hot_spot_c

pytest.importorskip("transformer_thermal_model", reason="a test dependency: pip install transformer-thermal-model")

FIRST_LOAD, STEP_MIN, NO_LOAD_W = 0.6, 5, 210.0
RNG = np.random.default_rng(5)
LOAD = np.repeat(RNG.uniform(0.1, 1.5, 24), 12)  # a day in five minutes, another load every hour
AMBIENT_C = 12.0 + 9.0 * np.sin(np.linspace(0.0, 2.0 * np.pi, LOAD.size)) + RNG.normal(0.0, 0.5, LOAD.size)


def by_the_package(machine: OilTransformer, kind: str) -> np.ndarray:
    from transformer_thermal_model.cooler import CoolerType
    from transformer_thermal_model.model import Model
    from transformer_thermal_model.schemas import InputProfile, UserTransformerSpecifications
    from transformer_thermal_model.schemas.thermal_model.initial_state import InitialLoad
    from transformer_thermal_model.transformer import DistributionTransformer, PowerTransformer

    assert machine.loss_ratio is not None
    specs = UserTransformerSpecifications(
        load_loss=NO_LOAD_W * machine.loss_ratio, no_load_loss=NO_LOAD_W, nom_load_sec_side=1.0,
        amb_temp_surcharge=machine.ambient_surcharge_k, time_const_oil=machine.oil_time_constant_min,
        time_const_windings=machine.winding_time_constant_min, top_oil_temp_rise=machine.top_oil_rise_k,
        winding_oil_gradient=machine.hot_spot_rise_k, hot_spot_fac=1.0, oil_const_k11=machine.k11,
        winding_const_k21=round(machine.k21), winding_const_k22=round(machine.k22), oil_exp_x=machine.oil_exponent,
        winding_exp_y=machine.winding_exponent, end_temp_reduction=0.0,
    )  # fmt: skip
    transformer: Any = (
        DistributionTransformer(user_specs=specs)
        if kind == "distribution"
        else PowerTransformer(user_specs=specs, cooling_type=CoolerType.ONAN)
    )
    start = datetime(2026, 1, 15)
    profile = InputProfile.create(
        datetime_index=[start + k * timedelta(minutes=STEP_MIN) for k in range(LOAD.size + 1)],
        load_profile=[FIRST_LOAD, *LOAD],
        ambient_temperature_profile=[AMBIENT_C[0], *AMBIENT_C],
    )
    told = Model(profile, transformer, initial_condition=InitialLoad(initial_load=FIRST_LOAD)).run()
    return np.asarray(told.hot_spot_temp_profile.to_numpy()[1:])


@pytest.mark.parametrize(
    ("machine", "kind"),
    [
        (OilTransformer(loss_ratio=5.0), "distribution"),
        (OilTransformer(loss_ratio=2350 / 210), "distribution"),
        (OilTransformer(60.0, 27.6, 150.0, 6.0, 9.26, 0.9, 1.3, 0.5, 2.0, 2.0), "distribution"),
        (OilTransformer(loss_ratio=6.0, k21=2.0, ambient_surcharge_k=10.0), "power"),
    ],
)
def test_hot_spots_are_those_of_the_package(machine: OilTransformer, kind: str) -> None:
    _, ours = hot_spot_c(LOAD, AMBIENT_C, STEP_MIN, machine, initial_load_factor=FIRST_LOAD)
    np.testing.assert_allclose(ours, by_the_package(machine, kind), atol=1e-9)
    assert np.ptp(ours) > 50.0
