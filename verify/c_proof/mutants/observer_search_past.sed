# observer.c resync: the search starts two behind and may miss the tail
s/search(o, from + 1, &h)/search(o, from + 2, \&h)/
