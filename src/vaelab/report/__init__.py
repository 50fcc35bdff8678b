"""The report on an evaluation: one HTML page that says what the numbers mean for this model."""

from vaelab.report.evaluation_result import Subject
from vaelab.report.page import build_page
from vaelab.report.validate import check_fit

__all__ = ["Subject", "build_page", "check_fit"]
