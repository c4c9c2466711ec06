"""Many steps: a matrix of them, so many at once, and what to do when one fails."""

from .expansion import Iteration, Matrix, Repeat
from .failures import Action, Ending, ErrorClass, FailureStrategy, Intervene, Retry, error_classes
from .harness import harness_steps, run_harness
from .running import Intervention, Job, NamedEventSink, Runnable, When, arun_many, run_many
from .table import Row, RunTable, Status

__all__ = [
    "Action",
    "Ending",
    "ErrorClass",
    "FailureStrategy",
    "Intervene",
    "Intervention",
    "Iteration",
    "Job",
    "Matrix",
    "NamedEventSink",
    "Repeat",
    "Retry",
    "Row",
    "RunTable",
    "Runnable",
    "Status",
    "When",
    "arun_many",
    "error_classes",
    "harness_steps",
    "run_harness",
    "run_many",
]
