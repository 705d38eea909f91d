"""Tables of a scenario about the circuit and its machines."""

from __future__ import annotations

from typing import Annotated, Literal

from pydantic import (
    Field,
    ValidationInfo,
    field_validator,
    model_validator,
)

from cosim.errors import Fault
from cosim.experiments.remedies import refused
from cosim.experiments.world.table import Table as _Table
from cosim.experiments.world.table import named_in_a_file, table_file
from cosim.feeders.catalogue import tier_losses_percent


class Transformer(_Table):
    """Machine that replaces the feeder's own."""

    kva: float = Field(gt=0, le=10_000, description="Rated power [kVA]")
    uk_percent: float = Field(4.0, gt=0, le=20, description="Short-circuit voltage [%]")
    load_loss_percent: float = Field(
        1.5, gt=0, le=10, validate_default=True, description="Load loss at rated current [% of rating]"
    )
    no_load_loss_percent: float = Field(0.0, ge=0, le=10, description="No-load loss at rated voltage [% of rating]")
    tier: Literal[1, 2] | None = Field(
        None, description="Both losses by EU regulation 548/2014: 1 of 2015, 2 of 2021; instead of them"
    )

    @model_validator(mode="before")
    @classmethod
    def _losses_of_tier(cls, values: object) -> object:
        tier, kva = (values.get("tier"), values.get("kva")) if isinstance(values, dict) else (None, None)
        if isinstance(tier, bool):  # true is no tier, though it equals 1
            raise refused(Fault("", "transformer.tier", f"is {str(tier).lower()}", "write 1 (of 2015) or 2 (of 2021)"))
        if not isinstance(values, dict) or not isinstance(tier, int) or tier not in (1, 2):
            return values
        if isinstance(kva, bool) or not isinstance(kva, (int, float)) or not kva > 0:
            return values
        allowed = tier_losses_percent(kva, tier)
        if allowed is None:
            problem = f"is {tier}, but the regulation's table ends before {kva:g} kVA"
            raise refused(Fault("", "transformer.tier", problem, "give load_loss_percent and no_load_loss_percent"))
        losses = dict(zip(("load_loss_percent", "no_load_loss_percent"), allowed, strict=True))
        if other := [key for key in losses if values.get(key, losses[key]) != losses[key]]:
            problem = f"is given together with {' and '.join(other)}"
            raise refused(Fault("", "transformer.tier", problem, "keep one of the two, not both"))
        return values | losses

    @field_validator("load_loss_percent")
    @classmethod
    def _resistance_below_impedance(cls, value: float, info: ValidationInfo) -> float:
        whole = info.data.get("uk_percent", 100.0)
        if value >= whole:
            problem = f"is {value:g}, but must be below uk_percent, of which it is the resistive part"
            raise refused(Fault("", "load_loss_percent", problem, f"write less than {whole:g}, or raise uk_percent"))
        return value


class Grid(_Table):
    """Changes to the feeder's own circuit."""

    source_pu: float | None = Field(None, ge=0.8, le=1.2, description="Source voltage [pu of the source's base]")
    source_swing_percent: float = Field(
        0.0, ge=0, le=15, description="From its lowest to its highest of a day, around source_pu [% of it]"
    )
    source_lowest_h: float = Field(18.0, ge=0, lt=24, description="Hour at which the swing is lowest [h]")
    source_profile: Annotated[str | None, named_in_a_file(table_file)] = Field(
        None, description="Path of source voltages in time [pu], instead of source_pu", examples=["my_source.csv"]
    )
    transformer: Transformer | None = None
    nominal_voltage_v: float | None = Field(
        None, ge=50, le=50_000, description="Nominal phase-to-neutral voltage, instead of feeder.toml's [V]"
    )
    standard: Literal["en50160", "esqcr", "ansi_c84_1", "as_61000"] | None = Field(
        None, description="By what voltages are judged; else what feeder.toml says, else en50160"
    )
    taps: Literal["frozen", "controlled"] = Field(
        "frozen", description="Whether the file's own regulators and capacitor controls act"
    )
    accept: tuple[str, ...] = Field(
        (), strict=False, description="Elements of the file that a run cannot honour, to be run with all the same",
        examples=[["Storage.bat"]],
    )  # fmt: skip
    on_collapse: Literal["stop", "shed"] = Field("stop", description="What a step without power flow does to its run")

    @field_validator("source_profile", mode="before")
    @classmethod
    def _no_other_source(cls, value: object, info: ValidationInfo) -> object:
        if value is not None and (info.data.get("source_pu") is not None or info.data.get("source_swing_percent")):
            problem = "is given together with source_pu or source_swing_percent"
            raise refused(Fault("", "source_profile", problem, "keep one of the two, not both"))
        return value


class Thermal(_Table):
    """How warm transformers get: constants of IEC 60076-7; defaults for distribution transformers (ONAN)."""

    top_oil_rise_k: float = Field(55.0, ge=1, le=150, description="Top oil over ambient at rated losses [K]")
    hot_spot_rise_k: float = Field(23.0, ge=1, le=100, description="Hot spot over top oil at rated current [K]")
    oil_time_constant_min: float = Field(180.0, ge=5, le=1_500, description="Time constant of the oil [min]")
    winding_time_constant_min: float = Field(4.0, ge=0.5, le=60, description="Time constant of the winding [min]")
    loss_ratio: float | None = Field(
        None, ge=0.5, le=100, description="Load loss over no-load loss; else the machine's own, else 5"
    )
    oil_exponent: float = Field(0.8, ge=0.3, le=1.5, description="x")
    winding_exponent: float = Field(1.6, ge=0.8, le=2.5, description="y")
    k11: float = Field(1.0, ge=0.1, le=2, description="Constant of the oil's transient")
    k21: float = Field(1.0, ge=1, le=5, description="Overshoot of the hot spot; 1 is none")
    k22: float = Field(2.0, ge=0.5, le=5, description="Constant of the hot spot's transient")
    ambient_surcharge_k: float = Field(0.0, ge=0, le=40, description="Warmer around the machine than outdoors [K]")
