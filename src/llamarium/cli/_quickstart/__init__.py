"""The first ten minutes: what ``llamarium quickstart`` measures, and the page that shows it.

Takes: a plain object of results, as ``quickstart.json`` keeps it (`page.render` names every key).
Gives: `page`, which turns it into one HTML page, and `words`, its phrases in English and Chinese.
Does not know: how the results came about.
"""
