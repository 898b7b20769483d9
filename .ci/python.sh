#!/bin/sh
# Runs its arguments with the first suitable Python of this machine: $PYTHON if given, else python3 and its numbered kin.
# This is the only thing the project needs to find; everything else it installs for itself.
for candidate in ${PYTHON:+"$PYTHON"} python3 python3.14 python3.13 python3.12 python3.11 python; do
  if "$candidate" -c 'import sys; sys.exit(sys.version_info < (3, 11))' 2>/dev/null; then
    exec "$candidate" "$@"
  fi
  if [ -n "${PYTHON:-}" ]; then
    echo "PYTHON=$PYTHON does not run, or is older than Python 3.11." >&2
    exit 1
  fi
done
cat >&2 <<'EOF'
No Python 3.11 or newer was found (tried python3, python3.14 … python3.11, python).
Install one (Debian, Ubuntu: apt-get install python3 python3-venv · macOS: brew install python@3.13 · or python.org),
or name the one you have:  make PYTHON=/path/to/python3 …
EOF
exit 1
