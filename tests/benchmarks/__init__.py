"""Performance, measured and never asserted: `make bench`, `make bench BENCH='tick_10k_s'`.

Each ``bench_*.py`` registers figures with ``@benchmark("name", …)``; a function may give several figures that one run yields.
"""
