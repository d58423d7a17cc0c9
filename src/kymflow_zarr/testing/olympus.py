"""The text header that an Olympus FluoView microscope writes beside a line scan."""

from __future__ import annotations

from kymflow_zarr.testing.kymographs import SyntheticVessel

__all__ = ["olympus_header"]


def olympus_header(vessel: SyntheticVessel) -> str:
    """Instrument header of a vessel: CRLF lines of ``"key" TAB "value"``.

    Parameters
    ----------
    vessel : SyntheticVessel
        What was recorded.

    Returns
    -------
    str
        The whole file. "Image Size" occurs in two sections, as it does in real ones.
    """
    width_um = f"{vessel.n_pixels * vessel.pixel_size_um:.3f} [um]"
    reference_um = f"{512 * vessel.pixel_size_um:.3f} [um]"
    size = f"{vessel.n_pixels}"
    acquired = vessel.acquired
    half = "AM" if acquired.hour < 12 else "PM"  # %p would follow the locale
    clock = f"{acquired:%m/%d/%Y %I:%M:%S}.{acquired.microsecond // 1000:03d} {half}"
    sections: dict[str, list[tuple[str, str]]] = {
        "General": [
            ("Path", f"D:/Users/Lab/{vessel.date} {vessel.condition}"),
            ("Name", f"{vessel.stem}.oir"),
            ("Scan Mode", "XT"),
            ("Date", clock),
            ("File Version", "2.1.2.3"),
            ("System Name", "FVMPE-RS"),
            ("System Version", "2.3.2.169"),
        ],
        "Dimensions": [
            (
                "X Dimension",
                f"{size}, 0.0 - {width_um}, {vessel.pixel_size_um:.3f} [um/pixel]",
            ),
            ("Channel Dimension", "1 [Ch]"),
            ("T Dimension", f"1, 0.000 - {vessel.duration_s:.3f} [s], Interval FreeRun"),
        ],
        "Image": [
            ("Primary Dimensions", "X * T"),
            ("Image Size", f"{size} * {vessel.n_lines} [pixel]"),
            (
                "Image Size(Unit Converted)",
                f"{width_um} * {1000 * vessel.duration_s:.3f} [ms]",
            ),
        ],
        "Reference Image": [
            ("Image Size", "512 * 512 [pixel]"),
            ("Image Size(Unit Converted)", f"{reference_um} * {reference_um}"),
        ],
        "Acquisition": [
            ("Objective Lens", "XLPLN25XWMP2"),
            ("Objective Lens Mag.", "25.0X"),
            ("Objective Lens NA", "1.05"),
            ("Scan Device", "Galvano"),
            ("Scan Direction", "Oneway"),
            ("Sampling Speed", "2.0 [us/pixel]"),
            ("Sequential Mode", "None"),
            ("Integration Type", "None"),
            ("Integration Count", "0"),
            ("Region Mode", "Line"),
            ("Find Mode", "x1"),
            ("Rotation", "0.0 [deg]"),
            ("Pan X", "0.0 [um]"),
            ("Pan Y", "0.0 [um]"),
            ("Zoom", f"x{0.9942 / vessel.pixel_size_um:.2f}"),
            ("ADM", "Empty"),
            ("MirrorTurret 1", "DM690"),
        ],
        "Channel 1": [
            ("Channel Name", "RNDD2"),
            ("Dye Name", "FITC"),
            ("Emission WaveLength", "517 [nm]"),
            ("PMT Voltage", "299 [V]"),
            ("BF Name", "BA495-540"),
            ("Emission DM Name", "SDM570"),
            ("Bits/Pixel", "12 [bits]"),
            ("Laser Wavelength", "820 [nm]"),
            ("Laser Transmissivity", "9.0 [%]"),
            ("Laser ND Filter", "None"),
        ],
    }
    rows = [row for name, pairs in sections.items() for row in ((f"[{name}]", ""), *pairs)]
    return "".join(f'"{key}"\t"{value}"\r\n' for key, value in rows)
