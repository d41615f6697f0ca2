"""Scenario tests: files with series and expectations, for manifests and policies what ``promtool test rules`` is for rules."""
