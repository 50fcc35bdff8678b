"""The report on an evaluation: one HTML page that explains each number for this model."""

from vaelab.report.evaluation_result import EvaluationResult
from vaelab.report.page import build_page
from vaelab.report.validate import validate

__all__ = ["EvaluationResult", "build_page", "validate"]
