"""The report as one HTML page that needs nothing from outside: plotly is inside, all text is escaped."""

from results.report.page.document import document, html, parts
from results.report.page.sections import Page, Section, page_of

__all__ = ["Page", "Section", "document", "html", "page_of", "parts"]
