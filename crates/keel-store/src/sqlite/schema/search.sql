CREATE VIRTUAL TABLE search USING fts5(
  keys, said, turn UNINDEXED, columnsize = 0, tokenize = 'unicode61 remove_diacritics 2'
)
