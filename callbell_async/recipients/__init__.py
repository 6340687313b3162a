"""Recipients as people write them: numbers in national form, opt-outs, and the cells of spreadsheets."""
