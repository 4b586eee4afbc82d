# lag.c aqd_reader_measure_lag: a tail more than a lap ahead is measured
s/if (distance > r->view.capacity)/if (0)/
