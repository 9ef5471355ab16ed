"""``python -m hf_attrib`` is ``hf-attrib``."""

from hf_attrib.cli import main

if __name__ == "__main__":
    main()
