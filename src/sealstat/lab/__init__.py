"""The lab: the case studies, and the whole system played on one machine."""
