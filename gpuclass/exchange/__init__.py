"""The exchange: assignments go out, submissions come in, feedback goes back, over HTTP.

``service`` answers, ``store`` keeps, ``client`` is the plugin inside the containers, ``operating`` is for operators.
What lies here is shared by both sides: names and their one safe form, times and trees as they travel, messages.
"""
