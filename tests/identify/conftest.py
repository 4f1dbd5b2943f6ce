"""Makes `numpy_maml`, the code base that the tests of this folder plant faults in, importable."""

import sys
from pathlib import Path

sys.path.insert(0, str(Path(__file__).parent))
