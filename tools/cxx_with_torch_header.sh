#!/usr/bin/env bash
# A C++ compiler that compiles torch's headers once and keeps them: four fifths of the time that a file of mmcv takes.
# tools/setup_env.sh gives it to the build of mmcv as CXX. Arguments: those of the compiler.
# Environment: HEADER_DIR, the folder that keeps the precompiled header; REAL_CXX (default g++).
set -euo pipefail
compiler=${REAL_CXX:-g++}

# A precompiled header is valid for the flags that it was made with, so these come from the first call that compiles.
flags=()
compiles=false
skip=false
for argument; do
  if $skip; then skip=false; continue; fi
  case "$argument" in
    -c) compiles=true ;;
    -o | -MF) skip=true ;;
    -MMD | -MD | *.cpp | -DTORCH_EXTENSION_NAME=*) ;;
    *) flags+=("$argument") ;;
  esac
done
$compiles || exec "$compiler" "$@"

header=$HEADER_DIR/torch_header.h
if [ ! -f "$header.gch" ]; then
  exec 8>"$HEADER_DIR/.lock"
  flock 8
  if [ ! -f "$header.gch" ]; then
    echo '#include <torch/types.h>' > "$header"
    "$compiler" "${flags[@]}" -g0 -x c++-header "$header" -o "$header.part"
    mv "$header.part" "$header.gch"
  fi
  exec 8>&-
fi
exec "$compiler" -include "$header" -Winvalid-pch "$@" -g0
