"""A study: one declared plan, one store for all its runs, and the statistics of what the store holds."""

from pcvr.experiments.study.plan import Plan, load_plan
from pcvr.experiments.study.reproduce import reproduce
from pcvr.experiments.study.runner import run_study
from pcvr.experiments.study.store import Store
from pcvr.experiments.study.tables import import_table, table_of

__all__ = ["Plan", "Store", "import_table", "load_plan", "reproduce", "run_study", "table_of"]
