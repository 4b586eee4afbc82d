# observer_find.c observer_resync: the search starts two behind and may miss the tail
s/observer_search(o, from + 1, &h)/observer_search(o, from + 2, \&h)/
