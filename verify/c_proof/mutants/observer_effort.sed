# observer_find.c aqd_observer_find: a round spends none of the effort
s/^        left->headers--;$//
