#!/bin/sh
# Prints the version of this checkout: the commit's tag, else a pseudo-version of
# its time and hash, with "+dirty" where files were changed. Prints nothing where
# there is no git or no checkout.
version=$(git describe --tags --exact-match --match 'v[0-9]*' 2>/dev/null) ||
  version=$(TZ=UTC0 git log -1 --abbrev=12 --date=format-local:%Y%m%d%H%M%S --format=v0.0.0-%cd-%h 2>/dev/null) || exit 0
git diff --quiet HEAD 2>/dev/null || version=$version+dirty
echo "$version"
