"""Check reports and inspections as tables for people and as files for CI."""

from slide_deploy.graph_checks.reports.inspection import inspection_tables
from slide_deploy.graph_checks.reports.json_report import as_json
from slide_deploy.graph_checks.reports.junit import junit
from slide_deploy.graph_checks.reports.sarif import sarif
from slide_deploy.graph_checks.reports.table import report_table, summary

__all__ = ["as_json", "inspection_tables", "junit", "report_table", "sarif", "summary"]
