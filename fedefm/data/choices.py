"""What people may name where images are brought in or simulated.

The names stand apart from the readers and simulators behind them, which load slowly: the command
line shows them in its help.
"""

from typing import Literal

Files = Literal["auto", "link", "png"]

LAYOUT_NAMES = (  # of ``fedefm.data.layouts``, in its order
    "chase-db1",
    "nih-cxr-mini",
    "dsb2018-nuclei",
    "hc18-fetal-head",
    "msd-task04-hippocampus",
    "isic-skin-mini",
    "xa-dicom",
    "cathaction",
    "endovascular",
    "guide3d",
    "ranzcr-clip",
    "arcade",
    "dca1",
    "drive",
    "msd",
    "vessel12",
    "sennet",
    "busi",
    "camus",
    "tn3k",
    "collection",
    "list",
    "classes",
    "images",
)

DOMAIN_NAMES = (  # of ``fedefm.data.xray_domains``, in its order
    "phantom",
    "animal",
    "cardiac",
    "neuro_dsa",
    "low_dose",
    "image_intensifier",
    "high_scatter",
    "roadmap",
)
