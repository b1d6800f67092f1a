"""Is what the page says true? Its medians beside those of a loop that is written by hand."""
