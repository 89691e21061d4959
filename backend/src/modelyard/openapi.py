"""`python -m modelyard.openapi` prints the API's description, for generators."""

import json
import sys

from modelyard.main import create_app

if __name__ == "__main__":
    json.dump(create_app().openapi(), sys.stdout, indent=1, sort_keys=True)
    sys.stdout.write("\n")
