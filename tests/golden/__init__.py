"""Numbers made once by Keras, tf_keras and PyTorch, and the tests that hold rnnx to them.

The ``make_*.py`` scripts write the files in ``data``; each names the environment it needs and the command
that runs it. The tests read the files with numpy alone.
"""
