"""The report on an evaluation: one HTML page that says what the numbers mean for this model."""

from vaelab.report.fitting import check_fit
from vaelab.report.page import build_page
from vaelab.report.subject import Subject

__all__ = ["Subject", "build_page", "check_fit"]
